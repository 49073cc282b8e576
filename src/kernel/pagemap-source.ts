/**
 * Where page bits come from: one interface over PAGEMAP_SCAN (Linux 6.7) and /proc/PID/pagemap.
 *
 * Both answer the same question, "which pages of this segment are to be stored?", and one contract suite
 * runs over both. A source belongs to the thread that opened it.
 */
import type { PageRanges } from '../core/page-ranges.js'
import type { SpanUse } from './pte-markers.js'

/** What the kernel says of one page. */
export interface PageFacts {
  readonly present: boolean
  readonly swapped: boolean
  /** The page belongs to a file or to shared memory. */
  readonly file: boolean
  /** The zero page. Always false where the kernel does not tell us. */
  readonly zero: boolean
  readonly guard: boolean
  /** Undefined where the kernel has no soft-dirty bits. */
  readonly softDirty: boolean | undefined
}

/** Page bits of one process. */
export interface PagemapSource {
  readonly name: 'PAGEMAP_SCAN' | '/proc/PID/pagemap'
  /**
   * Puts the pages of [`from`, `to`) that a segment of class `storeClass` stores into `out`, in order, and
   * the guard pages among them, marked as such.
   *
   * @param storeClass - a value of SEGMENT_CLASS, not `whole`
   * @returns the page to go on from: `to` when done, less where `out` is full
   */
  scan(from: number, to: number, storeClass: number, out: PageRanges): number
  /** Whether {@link siftMarkers} may be called: without CAP_SYS_ADMIN a marker looks like a page in swap. */
  readonly seesMarkers: boolean
  /** Tells which of the pages [`from`, `to`), found to be swapped out, are markers: they hold nothing. */
  siftMarkers(from: number, to: number, use: SpanUse): void
  /** What the kernel says of `page`. */
  describe(page: number): PageFacts
  close(): void
}
