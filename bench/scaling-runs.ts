/**
 * Measures the frozen window with one and with two workers, and tells what 8, 32 and 128 would make of it.
 *
 *   npm run bench:scaling [-- --runs 5 --gib 1]
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { Crew } from '../src/engine/crew.js'
import { monotonicMicros } from '../src/kernel/clock.js'
import { withLoneVictim, type LoneVictim } from '../test/support/lone-victim.js'
import { runTool } from '../test/support/tool.js'
import { runDump, STEPS, type DumpRun, type Step, type StepTimes } from './dump-run.js'
import { warmMemory } from './machine.js'
import { figure, markdownTable, milliseconds } from './markdown-table.js'
import { fitSteps, predictWindow, serialFraction, totalOf, type Prediction, type StepFit } from './scaling.js'
import { median } from './statistics.js'

const GIB = 2 ** 30
const PAGES_PER_GIB = 262_144
const VMAS_PER_GIB = 250
const PREDICTED = [8, 32, 128]
const DIRTY_PART = 0.1
const WAKE_ROUNDS = 50

/** How to measure. */
export interface ScalingOptions {
  readonly runs: number
  readonly gib: number
  /** Where images go. */
  readonly folder: string
}

/** What was measured of one kind of dump, and what follows. */
export interface ScalingFigures {
  readonly kind: 'full' | 'increment'
  readonly one: StepTimes
  readonly two: StepTimes
  readonly fits: readonly StepFit[]
  readonly serialFraction: number
  readonly predictions: readonly Prediction[]
}

/** Measures full dumps and increments, and prints both tables. */
export async function measureScaling(options: ScalingOptions): Promise<ScalingFigures[]> {
  const wake = new Map<number, number>()
  for (const workers of [1, ...PREDICTED]) wake.set(workers, await wakeMicros(workers))
  const args = ['--vmas', String(VMAS_PER_GIB * options.gib), '--gap', '--pages-per-vma']
  const runs = await withLoneVictim(
    'plain',
    [...args, String(Math.floor(PAGES_PER_GIB / VMAS_PER_GIB))],
    async (victim) => ({
      one: await takeChains(victim, options, 1),
      two: await takeChains(victim, options, 2),
    }),
  )
  const figures = (['full', 'increment'] as const).map((kind) =>
    foresee(kind, runs.one[kind], runs.two[kind], wake),
  )
  for (const each of figures) printFigures(each)
  return figures
}

interface Chains {
  readonly full: DumpRun[]
  readonly increment: DumpRun[]
}

/** Full dumps, each with an increment after it for which a tenth of the pages was written. */
async function takeChains(
  { pid, request }: LoneVictim,
  { runs, gib, folder }: ScalingOptions,
  workers: number,
): Promise<Chains> {
  const chains: Chains = { full: [], increment: [] }
  const settings = ['--workers', String(workers), '--max-memory', `${String(1200 * gib)}M`]
  const common = [...settings, '--capture', 'copy']
  const dirtyPages = Math.floor(PAGES_PER_GIB * gib * DIRTY_PART)
  for (let run = 0; run < runs; run++) {
    warmMemory((2.5 * gib + 0.5) * GIB)
    const images = mkdtempSync(join(folder, 'tidemark-scaling-'))
    try {
      chains.full.push(await runDump(pid, join(images, '1'), [...common, '--track-mem']))
      await request(`write ${String(dirtyPages)} ${String(run)}`)
      chains.increment.push(await runDump(pid, join(images, '2'), [...common, '--prev-images-dir', '../1']))
    } finally {
      rmSync(images, { recursive: true, force: true })
      await runTool(['untrack', '-t', String(pid)])
    }
  }
  return chains
}

/** Median microseconds in which a crew of `workers` threads, on the cores that there are, does a job of nothing. */
async function wakeMicros(workers: number): Promise<number> {
  const crew = await Crew.start(workers)
  try {
    const times = Array.from({ length: WAKE_ROUNDS }, () => {
      const begun = monotonicMicros()
      crew.runBlocking({ kind: 'populate', address: 0, byteLength: 0 }, () => false)
      return monotonicMicros() - begun
    })
    return median(times)
  } finally {
    await crew.close()
  }
}

function foresee(
  kind: ScalingFigures['kind'],
  oneRuns: readonly DumpRun[],
  twoRuns: readonly DumpRun[],
  wake: ReadonlyMap<number, number>,
): ScalingFigures {
  const one = medianSteps(oneRuns)
  const two = medianSteps(twoRuns)
  const fits = fitSteps(one, two)
  const bytes = median(twoRuns.map(({ bytesStored }) => bytesStored))
  const wakeUs = (workers: number): number => Math.max(0, (wake.get(workers) ?? 0) - (wake.get(1) ?? 0))
  const predictions = PREDICTED.map((workers) => predictWindow(fits, workers, bytes, wakeUs(workers)))
  return { kind, one, two, fits, serialFraction: serialFraction(fits), predictions }
}

function medianSteps(runs: readonly DumpRun[]): StepTimes {
  const of = (step: Step): number => median(runs.map(({ frozen }) => frozen[step]))
  return {
    seize: of('seize'),
    checks: of('checks'),
    maps: of('maps'),
    fork: of('fork'),
    prepare: of('prepare'),
    scan: of('scan'),
    plan: of('plan'),
    capture: of('capture'),
    reset: of('reset'),
    thaw: of('thaw'),
  }
}

function printFigures({ kind, one, two, fits, serialFraction: serial, predictions }: ScalingFigures): void {
  const rows = STEPS.map((step) => [
    step,
    ...[one, two].map((steps) => milliseconds(steps[step])),
    milliseconds(fits.find((fit) => fit.step === step)?.serialUs ?? NaN),
    ...predictions.map(({ steps }) => milliseconds(steps[step])),
  ])
  const serialUs = fits.reduce((sum, fit) => sum + fit.serialUs, 0)
  const totals = [totalOf(one), totalOf(two), serialUs, ...predictions.map(({ frozenUs }) => frozenUs)]
  rows.push(['frozen', ...totals.map(milliseconds)])
  const many = predictions.map(({ workers }) => `${String(workers)} workers, predicted`)
  console.log(
    `\n${kind === 'full' ? 'full dump, tracking begun' : 'increment, a tenth of the pages written'}; milliseconds; ${figure(serial * 100)} % of one worker's time is serial:`,
  )
  console.log(markdownTable(['step', '1 worker', '2 workers', 'serial part', ...many], rows))
  for (const { workers, limit, speedUp, captureBytesPerSecond } of predictions) {
    console.log(
      `${String(workers)} workers: ${figure(speedUp)} times as fast as one; ${limit} is the longest step; ` +
        `the capture needs ${figure(captureBytesPerSecond / GIB)} GiB/s of memory`,
    )
  }
}
