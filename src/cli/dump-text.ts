/** The result of a dump as text. */
import type { DumpResult } from '../index.js'
import { formatBytes, formatMicros, formatRate, plural } from './units.js'

/** A few lines: what was dumped, how long the target stood still, how long all took, and how it was captured. */
export function formatDump(result: DumpResult): string {
  const { frozen, wall } = result
  const tracking =
    result.tracker === undefined
      ? ''
      : `tracking ${formatMicros(frozen.prepareUs)}, reset ${formatMicros(frozen.resetUs)}, `
  const isForked = result.capture.method === 'fork'
  const forked = isForked ? `fork ${formatMicros(frozen.forkUs)}, ` : ''
  const rate = isForked
    ? `read and written at ${formatRate(result.bytesStored, wall.writeUs)}`
    : `capture ${formatRate(result.bytesStored, frozen.captureUs)}, write ${formatRate(result.stagedBytes, wall.writeUs)}`
  const streamed =
    result.streamedBytes === 0
      ? ''
      : ` (${formatBytes(result.streamedBytes)} beyond --max-memory, written meanwhile)`
  return [
    `${result.kind === 'dump' ? 'dumped' : 'pre-dumped'} process ${String(result.pid)} (${result.comm}): ${plural(result.threads, 'thread')}, ` +
      `${plural(result.vmas, 'VMA')}, ${plural(result.pagesStored, 'page')} (${formatBytes(result.bytesStored)}) ` +
      `in ${plural(result.runs, 'run')} -> ${result.imagesDir}${result.complete ? '' : ' (incomplete)'}`,
    ...trackingLine(result),
    `frozen ${formatMicros(wall.frozenUs)}: seize ${formatMicros(frozen.seizeUs)}, checks ${formatMicros(frozen.checksUs)}, ` +
      `maps ${formatMicros(frozen.mapsUs)}, ${forked}scan ${formatMicros(frozen.scanUs)}, plan ${formatMicros(frozen.planUs)}, ` +
      `capture ${formatMicros(frozen.captureUs)}, ${tracking}thaw ${formatMicros(frozen.thawUs)}${streamed}`,
    `wall ${formatMicros(wall.totalUs)}: start ${formatMicros(wall.startUs)}, prepare ${formatMicros(wall.prepareUs)}, frozen ${formatMicros(wall.frozenUs)}, ` +
      `write ${formatMicros(wall.writeUs)}, publish ${formatMicros(wall.publishUs)}; ` +
      rate,
    `captured by ${result.capture.method} (${result.capture.why})`,
  ].join('\n')
}

/** What became of the pages of an increment, or of what is to be a parent; nothing for a plain dump. */
function trackingLine(result: DumpResult): string[] {
  const { tracker } = result
  if (tracker === undefined) return []
  const gone = result.pagesGone === 0 ? '' : `, gone before they were copied ${String(result.pagesGone)}`
  return [
    `pages ${String(result.pagesScanned)}: stored ${String(result.pagesStored)}, holes ${String(result.pagesInParent)}, ` +
      `clean but not in the parent ${String(result.cleanNotInParent)}${gone}; ` +
      `tracker ${tracker.name} (${tracker.why}), parent ${result.parent ?? 'none'}`,
  ]
}

/** For -v and the log: the snapshot's id, what was found, each thread's share. */
export function formatSteps(result: DumpResult): string {
  const size = result.pageSize
  return [
    `snapshot ${result.snapshotId} of process ${String(result.pid)} (${String(result.nsPid)} in its own namespace), by ${result.scanner}`,
    `guard pages ${String(result.guardPages)}, unreadable pages ${String(result.unreadablePages)}, ` +
      `read through /proc/PID/mem ${String(result.forcedPages)}, staged ${formatBytes(result.stagedBytes)}`,
    ...result.workers.map(
      (share, thread) =>
        `worker ${String(thread)}: scanned ${plural(share.scannedPages, 'page')} in ${formatMicros(share.scanUs)}, ` +
        `copied ${formatBytes(share.copiedPages * size)} in ${formatMicros(share.copyUs)}, ` +
        `wrote ${formatBytes(share.writtenPages * size)} in ${formatMicros(share.writeUs)}`,
    ),
    ...result.missing.map(
      (range) => `missing: ${range.reason}, ${plural(range.pages, 'page')}, ${range.path || 'unnamed'}`,
    ),
  ].join('\n')
}
