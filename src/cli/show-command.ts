/** `tidemark show`: what a snapshot holds. */
import { showSnapshot, type SnapshotSummary, type SnapshotVma } from '../index.js'
import { print, printJson } from './output.js'
import { formatBytes, formatMicros, plural } from './units.js'

/** The command's options. */
export interface ShowArguments {
  readonly dir: string
  readonly pagemap: boolean
  readonly json: boolean
}

/** Runs the command. Throws TidemarkError. */
export function runShow(args: ShowArguments): void {
  const summary = showSnapshot(args.dir)
  if (args.json) {
    const { pagemap, ...rest } = summary
    printJson(args.pagemap ? { ...rest, pagemap } : rest)
    return
  }
  print([...headLines(summary), ...statsLines(summary), '', ...vmaLines(summary.vmas)].join('\n'))
  if (args.pagemap) print(['', ...pagemapLines(summary)].join('\n'))
}

function headLines(summary: SnapshotSummary): string[] {
  const { manifest } = summary
  const sizes = `${plural(summary.vmas.length, 'VMA')}, resident ${formatBytes(summary.residentBytes)}, stored ${formatBytes(summary.storedBytes)}`
  if (manifest === undefined) {
    return [
      `process ${String(summary.pid)}: ${plural(summary.threads.length, 'thread')}, ${sizes}; images by CRIU`,
    ]
  }
  const { target } = manifest
  const inner = target.nsPid === target.pid ? '' : ` (${String(target.nsPid)} in its own pid namespace)`
  return [
    `process ${String(target.pid)}${inner} ${target.comm}: ${target.exe}`,
    `${plural(target.threads, 'thread')}, ${sizes}, ${plural(manifest.counts.runs, 'run')}`,
    `snapshot ${manifest.snapshotId}, taken ${manifest.createdAt} by tidemark ${manifest.tidemarkVersion}`,
    manifest.complete ? 'complete' : 'incomplete: memory that neither the snapshot nor a file holds:',
    ...manifest.missing.map(
      ({ reason, start, end, path }) =>
        `  ${start.slice(2)}-${end.slice(2)} ${reason} ${path || '(unnamed)'}`,
    ),
    ...manifest.warnings.map((warning) => `warning: ${warning}`),
  ]
}

function statsLines({ stats }: SnapshotSummary): string[] {
  if (stats === undefined) return []
  return [
    `frozen ${formatMicros(stats.frozenTimeUs)}: seize ${formatMicros(stats.freezingTimeUs)}, ` +
      `memory ${formatMicros(stats.memdumpTimeUs)}; written in ${formatMicros(stats.memwriteTimeUs)}; ` +
      `${plural(stats.pagesScanned, 'page')} scanned, ${plural(stats.pagesWritten, 'page')} written, ` +
      `${plural(stats.pagesSkippedParent, 'page')} in the parent`,
  ]
}

function vmaLines(vmas: readonly SnapshotVma[]): string[] {
  const rows = vmas.map((vma) => [
    `${vma.start.slice(2)}-${vma.end.slice(2)}`,
    vma.permissions,
    formatBytes(vma.residentBytes),
    formatBytes(vma.storedBytes),
    vma.file === '' ? vmaLabel(vma) : vma.file,
  ])
  return table(['VMA', 'perm', 'resident', 'stored', 'what'], rows)
}

function vmaLabel(vma: SnapshotVma): string {
  const names = vma.status.filter((name) => name !== 'VMA_AREA_REGULAR')
  return names
    .map((name) =>
      name
        .replace(/^VMA_(AREA_)?/, '')
        .toLowerCase()
        .replaceAll('_', ' '),
    )
    .join(', ')
}

function pagemapLines(summary: SnapshotSummary): string[] {
  const rows = summary.pagemap.map((run) => [run.start.slice(2), String(run.pages), run.where])
  return table(['run', 'pages', 'where'], rows)
}

/** Rows in columns; the last column is not padded. */
function table(head: readonly string[], rows: readonly (readonly string[])[]): string[] {
  const widths = head.map((title, column) =>
    rows.reduce((width, row) => Math.max(width, row[column]?.length ?? 0), title.length),
  )
  const line = (cells: readonly string[]): string =>
    cells
      .map((cell, column) => (column === cells.length - 1 ? cell : cell.padEnd(widths[column] ?? 0)))
      .join('  ')
  return [line(head), ...rows.map(line)]
}
