/**
 * The result of a tuning as text, at most 80 columns wide:
 *
 *   what was done, a table of rates, a chart of frozen time, the recommendation
 */
import type { TuneGain, TuneOptions, TuneResult, TuneTrial } from '../index.js'
import { formatBytes, formatMicros, formatRate, plural } from './units.js'

const LABEL_WIDTH = 20
const RATE_WIDTH = 12
const BAR_WIDTH = 46

/** The options that the user gave. */
type Given = Pick<TuneOptions, 'workers' | 'shardPages' | 'bufferSize' | 'maxMemory'>

/** The whole result. */
export function formatTuning(result: TuneResult, given: Given): string {
  return [
    ...headLines(result),
    '',
    ...tableLines(result),
    '',
    ...chartLines(result.trials),
    '',
    ...recommendationLines(result, given),
  ].join('\n')
}

function headLines(result: TuneResult): string[] {
  const { pid, comm, pages, pageSize, scanner, rounds, freezes, frozenUs, longestFrozenUs } = result
  const written =
    result.imagesDir === undefined
      ? []
      : [`wrote and removed ${formatBytes(result.writtenBytes)} in ${result.imagesDir}`]
  return [
    `process ${String(pid)} (${comm}): ${plural(pages, 'page')} (${formatBytes(pages * pageSize)}), by ${scanner}`,
    `frozen ${plural(freezes, 'time')}, ${formatMicros(frozenUs)} in all, ${formatMicros(longestFrozenUs)} at most; ` +
      (rounds === 1 ? 'a single round' : `medians of ${String(rounds)} rounds`),
    ...written,
  ]
}

/** A row for each trial; without a directory nothing is said of writing. */
function tableLines({ trials, pageSize, imagesDir }: TuneResult): string[] {
  const writes = imagesDir !== undefined
  const head = ['scan', 'capture', ...(writes ? ['write', 'durable'] : []), 'frozen']
  return [
    row('', head),
    ...trials.map((trial) => {
      const { pages, scanUs, captureUs, streamedBytes, writeUs, syncUs, frozenUs } = trial.median
      const bytes = pages * pageSize
      const staged = bytes - streamedBytes
      return row(labelOf(trial), [
        formatPageRate(pages, scanUs),
        formatRate(bytes, captureUs),
        ...(writes ? [formatRate(staged, writeUs), formatRate(staged, writeUs + syncUs)] : []),
        formatMicros(frozenUs),
      ])
    }),
  ]
}

function row(label: string, cells: readonly string[]): string {
  return label.padEnd(LABEL_WIDTH) + cells.map((cell) => cell.padStart(RATE_WIDTH)).join('')
}

/** What a trial differs in, as an option. */
function labelOf({ varied, workers, shardPages, bufferSize }: TuneTrial): string {
  switch (varied) {
    case 'nothing':
      return `${plural(workers, 'worker')}, ${formatSize(bufferSize)}`
    case 'workers':
      return `--workers ${String(workers)}`
    case 'shardPages':
      return `--shard-pages ${String(shardPages ?? 0)}`
    case 'bufferSize':
      return `--buffer-size ${formatSize(bufferSize)}`
  }
}

/** `1M`, `64K` or bytes: as the options take it. */
function formatSize(bytes: number): string {
  if (bytes % 2 ** 20 === 0) return `${String(bytes / 2 ** 20)}M`
  return bytes % 2 ** 10 === 0 ? `${String(bytes / 2 ** 10)}K` : String(bytes)
}

/** `12.3 Mpg/s`: millions of pages a second. */
function formatPageRate(pages: number, micros: number): string {
  return micros <= 0 ? '-' : `${(pages / micros).toFixed(pages / micros < 10 ? 2 : 1)} Mpg/s`
}

/** Frozen time as bars, the longest over the whole width. */
function chartLines(trials: readonly TuneTrial[]): string[] {
  const longest = Math.max(1, ...trials.map((trial) => trial.median.frozenUs))
  return [
    'frozen time: s scan, c capture, . the rest',
    ...trials.map((trial) => {
      const { scanUs, captureUs, frozenUs } = trial.median
      const scanEnd = Math.round((scanUs / longest) * BAR_WIDTH)
      const captureEnd = Math.max(scanEnd, Math.round(((scanUs + captureUs) / longest) * BAR_WIDTH))
      const end = Math.max(captureEnd, Math.round((frozenUs / longest) * BAR_WIDTH))
      const bar = 's'.repeat(scanEnd) + 'c'.repeat(captureEnd - scanEnd) + '.'.repeat(end - captureEnd)
      return `${labelOf(trial).padEnd(LABEL_WIDTH)} ${bar} ${formatMicros(frozenUs)}`
    }),
  ]
}

/** The command to use, and why. */
function recommendationLines(result: TuneResult, given: Given): string[] {
  const { choice, pid } = result
  const gained = new Set(choice.gains.map((gain) => gain.varied))
  const { workers, shardPages, bufferSize } = choice
  const maxMemory = result.maxMemory ?? given.maxMemory
  const words = [
    ...(given.workers !== undefined || gained.has('workers') ? [`--workers ${String(workers)}`] : []),
    ...(shardPages === undefined ? [] : [`--shard-pages ${String(shardPages)}`]),
    ...(given.bufferSize !== undefined || gained.has('bufferSize')
      ? [`--buffer-size ${formatSize(bufferSize)}`]
      : []),
    ...(maxMemory === undefined ? [] : [`--max-memory ${formatSize(maxMemory)}`]),
  ]
  return [
    `recommended: ${['tidemark dump', '-t', String(pid), '-D', result.imagesDir ?? 'DIR', ...words].join(' ')}`,
    ...choice.gains.map(formatGain),
    ...(choice.gains.length === 0 ? ['  nothing that was tried is clearly better'] : []),
    ...(result.maxMemory === undefined
      ? []
      : ['  --max-memory: nothing is written while the process stands still']),
  ]
}

const OPTION_NAMES = {
  workers: '--workers',
  shardPages: '--shard-pages',
  bufferSize: '--buffer-size',
} as const

function formatGain({ varied, step, baselineUs, us }: TuneGain): string {
  return `  ${OPTION_NAMES[varied]}: ${step} ${formatMicros(us)} instead of ${formatMicros(baselineUs)}`
}
