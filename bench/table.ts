/** Medians, and the table that `npm run bench` prints. */
import type { Run } from './candidates.js'

/** Medians of the figures that a candidate has. */
export type Medians = Partial<Record<keyof Run, number>>

/** One line of the table. */
export interface Measured {
  readonly shape: string
  readonly target: string
  readonly candidate: string
  /** Undisturbed runs that were taken. */
  readonly runs: number
  readonly median: Medians
}

const FIGURES = [
  'frozenMs',
  'wallMs',
  'prepareMs',
  'scanMs',
  'planMs',
  'captureMs',
  'writeMs',
  'peakBytes',
  'disturbance',
] as const

/** The median of each figure. */
export function medians(runs: readonly Run[]): Medians {
  const result: Medians = {}
  for (const figure of FIGURES) {
    const values = runs.map((run) => run[figure]).filter((value) => value !== undefined)
    values.sort((a, b) => a - b)
    const middle = values[Math.floor(values.length / 2)]
    if (middle !== undefined) result[figure] = middle
  }
  return result
}

/** Prints all lines, each with its ratio to the peer of the same shape and target where there is one. */
export function printTable(measured: readonly Measured[]): void {
  const head = [
    'shape',
    'to',
    'candidate',
    'runs',
    'frozen',
    'wall',
    'prepare',
    'scan',
    'plan',
    'capture',
    'write',
    'peak MiB',
    'of criu: frozen',
    'wall',
  ]
  const rows = measured.map((line) => {
    const peer = measured.find(
      (other) => other.candidate === 'criu' && other.shape === line.shape && other.target === line.target,
    )
    const { median } = line
    return [
      line.shape,
      line.target,
      line.candidate,
      String(line.runs),
      ms(median.frozenMs),
      ms(median.wallMs),
      ms(median.prepareMs),
      ms(median.scanMs),
      ms(median.planMs),
      ms(median.captureMs),
      ms(median.writeMs),
      median.peakBytes === undefined ? '-' : (median.peakBytes / 2 ** 20).toFixed(0),
      ratio(median.frozenMs, peer?.median.frozenMs),
      ratio(median.wallMs, peer?.median.wallMs),
    ]
  })
  console.log(`| ${head.join(' | ')} |`)
  console.log(`| ${head.map(() => '---').join(' | ')} |`)
  for (const row of rows) console.log(`| ${row.join(' | ')} |`)
}

function ms(value: number | undefined): string {
  if (value === undefined) return '-'
  return value < 10 ? value.toFixed(1) : value.toFixed(0)
}

function ratio(value: number | undefined, peer: number | undefined): string {
  return value === undefined || peer === undefined ? '-' : (value / peer).toFixed(2)
}
