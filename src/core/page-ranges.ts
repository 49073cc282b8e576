/**
 * Ranges of pages that a scan found, as reusable columns: no object per range, whichever kernel interface
 * they come from.
 */

/** The pages of the range are in swap, or look so (guard pages of Linux 6.13 and 6.14, poisoned pages). */
export const RANGE_SWAPPED = 1
/** The tracker says that the pages of the range were written since the last reset. */
export const RANGE_DIRTY = 2
/** The pages of the range are guard pages (MADV_GUARD_INSTALL): touching them is a fault, they hold nothing. */
export const RANGE_GUARD = 4

/**
 * What tells that a page was written since the tracker's last reset: a bit of the kernel's, or nothing, and
 * then every page counts as written.
 */
export type DirtyBit = 'all' | 'soft-dirty' | 'written'

/** A reusable list of ranges. Rows 0 to `count - 1` are valid. */
export interface PageRanges {
  count: number
  readonly capacity: number
  readonly startPage: Float64Array
  /** Exclusive. */
  readonly endPage: Float64Array
  /** {@link RANGE_SWAPPED}, {@link RANGE_DIRTY} and {@link RANGE_GUARD}, or 0. */
  readonly flags: Uint8Array
}

/** An empty list that can hold `capacity` ranges. */
export function allocateRanges(capacity: number): PageRanges {
  return {
    count: 0,
    capacity,
    startPage: new Float64Array(capacity),
    endPage: new Float64Array(capacity),
    flags: new Uint8Array(capacity),
  }
}

/** Appends a range, joined to the last where it continues it. The caller sees to the capacity. */
export function pushRange(ranges: PageRanges, start: number, end: number, flags: number): void {
  const last = ranges.count - 1
  if (last >= 0 && ranges.endPage[last] === start && ranges.flags[last] === flags) {
    ranges.endPage[last] = end
    return
  }
  ranges.startPage[ranges.count] = start
  ranges.endPage[ranges.count] = end
  ranges.flags[ranges.count] = flags
  ranges.count++
}
