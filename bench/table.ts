/** The tables that the benchmark prints: Markdown, padded for terminals. */
import type { Measured, Spread } from './figures.js'

/** Candidates to which the others are held. */
const PEERS = ['criu', 'gcore'] as const

/** A table of Markdown; every row has as many cells as `head`. */
export function formatTable(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const lines = [head, ...rows]
  const widths = head.map((_, column) => Math.max(3, ...lines.map((line) => (line[column] ?? '').length)))
  const line = (cells: readonly string[]): string =>
    `| ${widths.map((width, column) => (cells[column] ?? '').padEnd(width)).join(' | ')} |`
  return [line(head), line(widths.map((width) => '-'.repeat(width))), ...rows.map(line)].join('\n')
}

/** Frozen and wall time with their ranges, and the ratios to the peers that were measured in the same place. */
export function figuresTable(measured: readonly Measured[]): string {
  const peers = PEERS.filter((peer) => measured.some(({ candidate }) => candidate === peer))
  const head = [
    'shape',
    'to',
    'candidate',
    'runs',
    'frozen',
    'min-max',
    'wall',
    'min-max',
    'start-up',
    'seen stopped',
  ]
  const rows = measured.map((one) => {
    const { figures } = one
    return [
      one.shape,
      one.target,
      one.candidate,
      formatRuns(one),
      formatMedian(figures.frozen),
      formatRange(figures.frozen),
      formatMedian(figures.wall),
      formatRange(figures.wall),
      formatMedian(figures['start-up']),
      formatMedian(figures.stopped),
      formatMedian(figures.peak),
      ...peers.flatMap((name) => {
        const peer = peerOf(measured, one, name)
        return [formatRatio(ratioTo(one, peer, 'frozen')), formatRatio(ratioTo(one, peer, 'wall'))]
      }),
    ]
  })
  return formatTable([...head, 'peak MiB', ...peers.flatMap((name) => [`of ${name}: frozen`, 'wall'])], rows)
}

/** The steps of Tidemark's runs, those while the target stands first. */
export function stepsTable(measured: readonly Measured[]): string {
  const withSteps = measured.filter(({ figures }) => 'wall: prepare' in figures)
  const names = [...new Set(withSteps.flatMap(({ figures }) => Object.keys(figures)))].filter((name) =>
    /^(frozen|wall): |^stored$|^write each$/.test(name),
  )
  return formatTable(
    ['shape', 'to', 'candidate', 'frozen', ...names],
    withSteps.map((one) => [
      one.shape,
      one.target,
      one.candidate,
      ...['frozen', ...names].map((name) => formatMedian(one.figures[name])),
    ]),
  )
}

/** What was measured with the candidate `name` on the same shape and file system as `one`. */
export function peerOf(measured: readonly Measured[], one: Measured, name: string): Measured | undefined {
  return measured.find(
    ({ candidate, shape, target }) => candidate === name && shape === one.shape && target === one.target,
  )
}

/** `one`'s median as a part of `peer`'s; undefined where either is missing. */
export function ratioTo(one: Measured, peer: Measured | undefined, figure: string): number | undefined {
  const value = one.figures[figure]?.median
  const other = peer?.figures[figure]?.median
  return value === undefined || other === undefined || other === 0 ? undefined : value / other
}

/** Notes of all candidates, a line each; empty where there are none. */
export function notesOf(measured: readonly Measured[]): string[] {
  const disturbed = measured.filter((one) => one.disturbed).length
  return [
    ...measured.flatMap(({ shape, target, candidate, notes }) =>
      notes.map((note) => `${shape} to ${target}, ${candidate}: ${note}`),
    ),
    ...(disturbed === 0
      ? []
      : [
          `! (${disturbed} of ${measured.length}): other processes disturbed every run, these are the quietest`,
        ]),
  ]
}

/** `5`, `5 of 7` where two were thrown away, `5 of 9 !` where none was quiet. */
export function formatRuns({ runs, rejected, disturbed }: Measured): string {
  return `${runs}${rejected === 0 ? '' : ` of ${runs + rejected}`}${disturbed ? ' !' : ''}`
}

/** A number with about three digits, or `-`. */
export function formatNumber(value: number | undefined): string {
  if (value === undefined) return '-'
  const digits = value < 1 ? 2 : value < 10 ? 1 : 0
  return value.toFixed(digits)
}

/** A median, or `-`. */
export function formatMedian(spread: Spread | undefined): string {
  return formatNumber(spread?.median)
}

/** `min-max`, or `-`. */
export function formatRange(spread: Spread | undefined): string {
  return spread === undefined ? '-' : `${formatNumber(spread.min)}-${formatNumber(spread.max)}`
}

/** A ratio with two digits (three below a tenth), or `-`. */
export function formatRatio(ratio: number | undefined): string {
  return ratio === undefined ? '-' : ratio.toFixed(ratio < 0.1 ? 3 : 2)
}
