/**
 * Tidemark beside a C program that does the same system calls with as many threads: how much of scan and capture is
 * the kernel's work, and how much ours.
 *
 *   npm run bench:twin [-- --runs 5 --only 1g-100]
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { withLoneVictim } from '../test/support/lone-victim.js'
import { runDump, type DumpRun } from './dump-run.js'
import { warmMemory } from './machine.js'
import { figure, markdownTable, milliseconds } from './markdown-table.js'
import { median } from './statistics.js'
import { compileTwin, hasCompiler, runTwin, type TwinRun } from './twin-program.js'

const GIB = 2 ** 30
const WORKERS = [1, 2]

interface Shape {
  readonly name: string
  readonly bytes: number
  readonly vmas: number
  readonly pagesPerVma: number
  readonly maxMemory: string
}

const SHAPES: readonly Shape[] = [
  { name: '1g-100', bytes: GIB, vmas: 100, pagesPerVma: 2621, maxMemory: '1200M' },
  { name: '1g-10000', bytes: GIB, vmas: 10_000, pagesPerVma: 26, maxMemory: '1200M' },
  { name: '4g-1000', bytes: 4 * GIB, vmas: 1000, pagesPerVma: 1048, maxMemory: '4500M' },
]

/** How to measure. */
export interface TwinOptions {
  /** Runs of each, in turn. */
  readonly runs: number
  /** Shapes whose name has this in it. */
  readonly only: string
  /** Where images and the compiled program go. */
  readonly folder: string
}

/** Medians of one shape with so many threads. Times in microseconds. */
export interface TwinFigures {
  readonly shape: string
  readonly workers: number
  readonly runs: number
  readonly pages: number
  readonly tidemark: TwinTimes
  readonly c: TwinTimes
  /** Tidemark's time over the twin's. */
  readonly ratio: TwinTimes
}

/** One figure for each phase that both have. */
export interface TwinTimes {
  readonly scan: number
  readonly plan: number
  readonly capture: number
}

/** Measures and prints a table; nothing, with the reason printed, where there is no compiler. */
export async function measureTwin(options: TwinOptions): Promise<TwinFigures[]> {
  if (!hasCompiler()) {
    console.log('C twin: skipped, there is no gcc (apt-get install gcc libc6-dev)')
    return []
  }
  const folder = mkdtempSync(join(options.folder, 'tidemark-twin-'))
  try {
    const program = compileTwin(folder)
    const figures: TwinFigures[] = []
    for (const shape of SHAPES.filter(({ name }) => name.includes(options.only)))
      figures.push(...(await measureShape(shape, program, folder, options.runs)))
    printFigures(figures)
    return figures
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

async function measureShape(
  shape: Shape,
  program: string,
  folder: string,
  runs: number,
): Promise<TwinFigures[]> {
  const args = ['--vmas', String(shape.vmas), '--pages-per-vma', String(shape.pagesPerVma), '--gap']
  return await withLoneVictim('plain', args, async ({ pid }) => {
    const figures: TwinFigures[] = []
    for (const workers of WORKERS) {
      const tidemark: DumpRun[] = []
      const twin: TwinRun[] = []
      for (let run = 0; run < runs; run++) {
        warmMemory(2.5 * shape.bytes + GIB / 2)
        tidemark.push(await runTidemark(pid, join(folder, 'images'), workers, shape.maxMemory))
        warmMemory(1.5 * shape.bytes)
        twin.push(await runTwin(program, pid, workers))
      }
      figures.push(compareRuns(shape.name, workers, tidemark, twin))
    }
    return figures
  })
}

async function runTidemark(
  pid: number,
  images: string,
  workers: number,
  maxMemory: string,
): Promise<DumpRun> {
  try {
    const settings = ['--workers', String(workers), '--max-memory', maxMemory]
    return await runDump(pid, images, [...settings, '--capture', 'copy'])
  } finally {
    rmSync(images, { recursive: true, force: true })
  }
}

/** Medians of both and their ratio. Throws where they cannot have done the same work. */
export function compareRuns(
  shape: string,
  workers: number,
  tidemark: readonly DumpRun[],
  twin: readonly TwinRun[],
): TwinFigures {
  const pages = median(tidemark.map((run) => run.pagesStored))
  const twinPages = median(twin.map((run) => run.pages))
  // The victim is a Node: its own heap differs a little from run to run.
  if (Math.abs(pages - twinPages) > 0.02 * pages + 1000)
    throw new Error(`${shape}: Tidemark stored ${String(pages)} pages, the twin ${String(twinPages)}`)
  const ours: TwinTimes = {
    scan: median(tidemark.map(({ frozen }) => frozen.scan)),
    plan: median(tidemark.map(({ frozen }) => frozen.plan)),
    capture: median(tidemark.map(({ frozen }) => frozen.capture)),
  }
  const c: TwinTimes = {
    scan: median(twin.map(({ scanUs }) => scanUs)),
    plan: median(twin.map(({ planUs }) => planUs)),
    capture: median(twin.map(({ captureUs }) => captureUs)),
  }
  const ratio = { scan: ours.scan / c.scan, plan: ours.plan / c.plan, capture: ours.capture / c.capture }
  return { shape, workers, runs: tidemark.length, pages, tidemark: ours, c, ratio }
}

function printFigures(figures: readonly TwinFigures[]): void {
  const head = ['shape', 'workers', 'runs', 'pages', 'scan: ms', 'C', 'ratio', 'capture: ms', 'C', 'ratio']
  const rows = figures.map(({ shape, workers, runs, pages, tidemark, c, ratio }) => [
    ...[shape, String(workers), String(runs), String(pages)],
    ...[milliseconds(tidemark.scan), milliseconds(c.scan), figure(ratio.scan)],
    ...[milliseconds(tidemark.capture), milliseconds(c.capture), figure(ratio.capture)],
    ...[milliseconds(tidemark.plan), milliseconds(c.plan), figure(ratio.plan)],
  ])
  console.log('\nTidemark and a C program with the same system calls and threads:')
  console.log(markdownTable([...head, 'plan: ms', 'C', 'ratio'], rows))
}
