/**
 * Increments: how long the target stands, by tracker and by how much of it changed since the parent, and what the first
 * write to a page costs the target afterwards.
 *
 *   npm run bench -- --increments [--gib 4] [--runs 5] [--only uffd-wp]
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { dump, untrack, type DumpResult } from '../src/index.js'
import type { TrackerName } from '../src/track/tracker.js'
import { numberFact } from '../test/support/facts.js'
import { withLoneVictim, type LoneVictim } from '../test/support/lone-victim.js'

const PAGES_PER_GIB = 262_144
const VMAS_PER_GIB = 250
const RATIOS = [0.001, 0.01, 0.1, 1]

/** How to measure. */
export interface IncrementOptions {
  readonly gib: number
  readonly runs: number
  readonly trackers: readonly TrackerName[]
  /** Where images go. */
  readonly folder: string
}

/** Medians of one kind of increment. Times in milliseconds. */
export interface IncrementFigures {
  readonly tracker: string
  readonly pattern: 'first' | 'scattered' | 'dense'
  readonly ratio: number
  readonly storedPages: number
  readonly frozenMs: number
  readonly frozenMsPerGib: number
  readonly scanMs: number
  readonly planMs: number
  readonly captureMs: number
  readonly resetMs: number
  /** Microseconds that the target took for its first write to each page, on average. */
  readonly writeUsPerPage: number
}

interface Sample {
  readonly result: DumpResult
  readonly writeUsPerPage: number
}

/** Measures every tracker, ratio and pattern; `print` gets each line of figures when it is there. */
export async function measureIncrements(
  options: IncrementOptions,
  print: (figures: IncrementFigures) => void,
): Promise<IncrementFigures[]> {
  const all: IncrementFigures[] = []
  const vmas = String(VMAS_PER_GIB * options.gib)
  const pages = String(Math.floor(PAGES_PER_GIB / VMAS_PER_GIB))
  await withLoneVictim('plain', ['--vmas', vmas, '--pages-per-vma', pages, '--gap'], async (victim) => {
    for (const tracker of options.trackers) {
      for (const ratio of RATIOS) {
        for (const pattern of ['scattered', 'dense'] as const) {
          const samples = await takeChain(victim, options, tracker, ratio, pattern)
          const isFirst = ratio === RATIOS[0] && pattern === 'scattered'
          const taken = [
            ...(isFirst ? [figuresOf(tracker, 'first', 1, samples.slice(0, 1), options.gib)] : []),
            figuresOf(tracker, pattern, ratio, samples.slice(1), options.gib),
          ]
          for (const figures of taken) print(figures)
          all.push(...taken)
        }
      }
    }
  })
  return all
}

/** A full dump, and increments on it, each after the target has written. */
async function takeChain(
  victim: LoneVictim,
  { gib, runs, folder }: IncrementOptions,
  tracker: TrackerName,
  ratio: number,
  pattern: 'scattered' | 'dense',
): Promise<Sample[]> {
  const images = mkdtempSync(join(folder, 'tidemark-increments-'))
  const dirty = Math.floor(PAGES_PER_GIB * gib * ratio)
  const common = {
    pid: victim.pid,
    tracker,
    sync: false,
    maxMemory: (gib + 0.25) * 2 ** 30,
    maxFrozenMs: 60_000,
  }
  try {
    const samples: Sample[] = []
    for (let link = 0; link <= runs; link++) {
      const written =
        link === 0
          ? undefined
          : await victim.request(
              `${pattern === 'dense' ? 'dense' : 'write'} ${String(dirty)} ${String(link)}`,
            )
      const parent = link === 0 ? { trackMem: true } : { prevImagesDir: `../${String(link - 1)}` }
      const result = await dump({ ...common, ...parent, imagesDir: join(images, String(link)) })
      const micros = written === undefined ? 0 : numberFact(written, 'micros') / numberFact(written, 'pages')
      samples.push({ result, writeUsPerPage: micros })
    }
    return samples
  } finally {
    rmSync(images, { recursive: true, force: true })
    await untrack({ pid: victim.pid })
  }
}

function figuresOf(
  tracker: TrackerName,
  pattern: IncrementFigures['pattern'],
  ratio: number,
  samples: readonly Sample[],
  gib: number,
): IncrementFigures {
  const median = (of: (sample: Sample) => number): number => {
    const sorted = samples.map(of).sort((a, b) => a - b)
    return sorted[Math.floor(sorted.length / 2)] ?? 0
  }
  const frozenMs = median(({ result }) => result.wall.frozenUs) / 1000
  return {
    tracker,
    pattern,
    ratio,
    storedPages: median(({ result }) => result.pagesStored),
    frozenMs,
    frozenMsPerGib: frozenMs / gib,
    scanMs: median(({ result }) => result.frozen.scanUs) / 1000,
    planMs: median(({ result }) => result.frozen.planUs) / 1000,
    captureMs: median(({ result }) => result.frozen.captureUs) / 1000,
    resetMs: median(({ result }) => result.frozen.resetUs) / 1000,
    writeUsPerPage: median((sample) => sample.writeUsPerPage),
  }
}

/** Prints one line. */
export function printFigures(figures: IncrementFigures): void {
  const { tracker, pattern, ratio, storedPages } = figures
  const times = (
    ['frozenMs', 'frozenMsPerGib', 'scanMs', 'planMs', 'captureMs', 'resetMs', 'writeUsPerPage'] as const
  )
    .map((name) => figures[name].toFixed(2))
    .join(' | ')
  console.log(`| ${tracker} | ${pattern} | ${String(ratio * 100)} % | ${String(storedPages)} | ${times} |`)
}

/** Prints the head of the table. */
export function printHead(gib: number): void {
  console.log(
    `increments of a process of ${String(gib)} GiB in ${String(gib * VMAS_PER_GIB)} VMAs, milliseconds:`,
  )
  console.log(
    '| tracker | pages | dirty | stored | frozen | per GiB | scan | plan | capture | reset | target: µs a page |',
  )
  console.log('| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |')
}
