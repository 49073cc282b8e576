/** stats-dump: the times and counts that `crit show` and CRIU's users look for. source: criu/stats.c write_stats */
import { badImage } from './bad-image.js'
import { STATS_MAGICS } from './magic.js'
import { decodeSingleImage, encodeImage } from './typed-image.js'

/** Statistics of a dump. Times are whole microseconds; the file ends them at 2^32 - 1, about 71 minutes. */
export interface DumpStats {
  /** From the first seize until every thread stood. */
  readonly freezingTimeUs: number
  /** How long the target stood. */
  readonly frozenTimeUs: number
  /** Finding and taking the pages. */
  readonly memdumpTimeUs: number
  /** Writing them. */
  readonly memwriteTimeUs: number
  readonly pagesScanned: number
  /** Pages whose content is in the parent images. */
  readonly pagesSkippedParent: number
  readonly pagesWritten: number
}

const MAX_U32 = 0xffffffff

/** stats-dump. */
export function encodeDumpStats(stats: DumpStats): Uint8Array {
  const dump = {
    freezingTime: toU32(stats.freezingTimeUs),
    frozenTime: toU32(stats.frozenTimeUs),
    memdumpTime: toU32(stats.memdumpTimeUs),
    memwriteTime: toU32(stats.memwriteTimeUs),
    pagesScanned: BigInt(stats.pagesScanned),
    pagesSkippedParent: BigInt(stats.pagesSkippedParent),
    pagesWritten: BigInt(stats.pagesWritten),
    pagesLazy: 0n,
  }
  return encodeImage(STATS_MAGICS, 'stats_entry', [{ dump }])
}

/** The dump statistics of a stats image. Throws `BAD_IMAGE`, also where it holds those of a restore. */
export function decodeDumpStats(bytes: Uint8Array, path: string): DumpStats {
  const { dump } = decodeSingleImage(STATS_MAGICS, 'stats_entry', bytes, path)
  if (dump === undefined) throw badImage(path, 'it has no statistics of a dump')
  return {
    freezingTimeUs: dump.freezingTime,
    frozenTimeUs: dump.frozenTime,
    memdumpTimeUs: dump.memdumpTime,
    memwriteTimeUs: dump.memwriteTime,
    pagesScanned: Number(dump.pagesScanned),
    pagesSkippedParent: Number(dump.pagesSkippedParent),
    pagesWritten: Number(dump.pagesWritten),
  }
}

function toU32(value: number): number {
  return Math.min(Math.max(Math.round(value), 0), MAX_U32)
}
