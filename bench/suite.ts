/** The benchmark of whole dumps: plan, measure, print, write the results. */
import { writeFileSync } from 'node:fs'
import { aimsRows, AIMS_HEAD, judgeAims } from './aims.js'
import { formatEstimate } from './estimate.js'
import type { Measured } from './figures.js'
import { measureIncrements } from './increments.js'
import { describe, describeMachine } from './machine.js'
import { measureShape } from './measurement.js'
import { resultsPage } from './page.js'
import { resultsOf, writeResults } from './results.js'
import { parseSuiteOptions, type SuiteOptions } from './suite-options.js'
import { estimatePlan, listPlan, planSuite, type SuitePlan } from './suite-plan.js'
import { figuresTable, formatMedian, formatTable, notesOf, stepsTable } from './table.js'

/** Runs the benchmark that `args` ask for. */
export async function runSuite(args: readonly string[]): Promise<void> {
  const options = await parseSuiteOptions(args)
  const plan = planSuite(options)
  const machine = describeMachine()
  console.log(describe(machine))
  console.log(`about ${formatEstimate(estimatePlan(plan, options.runs))} on an idle machine of two cores`)
  if (options.list) {
    for (const line of listPlan(plan)) console.log(line)
    return
  }
  const measured: Measured[] = []
  try {
    await measureAll(plan, options, measured)
  } finally {
    // What was measured before an error counts too.
    report(measured, options)
    const results = resultsOf(machine, options.runs, measured)
    if (options.json !== undefined) writeResults(options.json, results)
    if (options.html !== undefined) writeFileSync(options.html, resultsPage(results))
  }
}

async function measureAll(plan: SuitePlan, { runs }: SuiteOptions, measured: Measured[]): Promise<void> {
  for (const { shape, parent, candidates } of plan.full) {
    const lines = await measureShape(shape, candidates, parent, runs)
    for (const one of lines) printProgress(one)
    measured.push(...lines)
  }
  for (const increments of plan.increments) {
    measured.push(...(await measureIncrements(increments, printProgress)))
  }
}

function printProgress({ shape, target, candidate, figures }: Measured): void {
  console.error(
    `${shape} to ${target}, ${candidate}: frozen ${formatMedian(figures.frozen)}, wall ${formatMedian(figures.wall)} ms`,
  )
}

function report(measured: readonly Measured[], { runs, aims }: SuiteOptions): void {
  console.log(`\nmedians of ${runs} runs, milliseconds, nothing synced:\n${figuresTable(measured)}`)
  console.log(`\nsteps of Tidemark's dumps:\n${stepsTable(measured)}`)
  if (aims) console.log(`\naims:\n${formatTable(AIMS_HEAD, aimsRows(judgeAims(measured)))}`)
  for (const note of notesOf(measured)) console.log(note)
}
