/** Page bits by the PAGEMAP_SCAN ioctl: the kernel filters, and skips what is empty. */
import { SEGMENT_CLASS } from '../core/segments.js'
import {
  pushRange,
  RANGE_DIRTY,
  RANGE_GUARD,
  RANGE_SWAPPED,
  type DirtyBit,
  type PageRanges,
} from '../core/page-ranges.js'
import { PAGE_IS } from './abi.js'
import type { KernelFeatures } from './features.js'
import type { PageFacts, PagemapSource } from './pagemap-source.js'
import type { SpanUse } from './pte-markers.js'
import { ScanIoctl } from './scan-ioctl.js'

/** Categories that tell whether a page was written. */
const DIRTY_CATEGORIES: Readonly<Record<DirtyBit, number>> = {
  all: 0,
  'soft-dirty': PAGE_IS.SOFT_DIRTY,
  written: PAGE_IS.WRITTEN | PAGE_IS.WPALLOWED,
}

/** Scans one process. Belongs to the thread that made it. */
export class PagemapScanner implements PagemapSource {
  readonly name = 'PAGEMAP_SCAN'
  readonly #ioctl: ScanIoctl
  readonly #features: KernelFeatures
  readonly #dirtyBit: DirtyBit
  /**
   * Category whose pages always count as dirty. A huge zero page has no soft-dirty bit: where it may not be told from
   * memory of the process's own it would be taken for unchanged, and bring back what was discarded.
   */
  readonly #doubtful: number
  readonly seesMarkers: boolean

  constructor(tid: number, features: KernelFeatures, dirtyBit: DirtyBit) {
    this.#ioctl = new ScanIoctl(tid)
    this.#features = features
    this.seesMarkers = features.zeroPfn !== undefined
    this.#dirtyBit = dirtyBit
    this.#doubtful = dirtyBit === 'soft-dirty' && !features.hugeZeroCategory ? PAGE_IS.HUGE : 0
  }

  scan(from: number, to: number, storeClass: number, out: PageRanges): number {
    const guard = this.#features.guardCategory ? PAGE_IS.GUARD : 0
    const filePrivate = storeClass === SEGMENT_CLASS['file-private']
    const zero = filePrivate && this.#dirtyBit !== 'all' ? PAGE_IS.PFNZERO : 0
    this.#ioctl.ask({
      unwanted: unwanted(storeClass),
      returned: PAGE_IS.SWAPPED | guard | zero | this.#doubtful | DIRTY_CATEGORIES[this.#dirtyBit],
      limit: out.capacity,
    })
    out.count = 0
    const found = this.#ioctl.call(from, to)
    for (let index = 0; index < found; index++) {
      const categories = this.#ioctl.categories(index)
      const swapped = (categories & PAGE_IS.SWAPPED) === 0 ? 0 : RANGE_SWAPPED
      const guarded = (categories & guard) === 0 ? 0 : RANGE_GUARD
      const written = this.#isDirty(categories, filePrivate) ? RANGE_DIRTY : 0
      pushRange(out, this.#ioctl.start(index), this.#ioctl.end(index), swapped | guarded | written)
    }
    return this.#ioctl.resume(found, to)
  }

  describe(page: number): PageFacts {
    const known = PAGE_IS.FILE | PAGE_IS.PRESENT | PAGE_IS.SWAPPED | PAGE_IS.PFNZERO
    const guard = this.#features.guardCategory ? PAGE_IS.GUARD : 0
    const dirty = this.#features.softDirty && this.#features.softDirtyCategory ? PAGE_IS.SOFT_DIRTY : 0
    this.#ioctl.ask({ returned: known | guard | dirty, limit: 1 })
    const categories = this.#ioctl.call(page, page + 1) === 0 ? 0 : this.#ioctl.categories(0)
    return {
      present: (categories & PAGE_IS.PRESENT) !== 0,
      swapped: (categories & PAGE_IS.SWAPPED) !== 0,
      file: (categories & PAGE_IS.FILE) !== 0,
      zero: (categories & PAGE_IS.PFNZERO) !== 0,
      guard: (categories & guard) !== 0,
      softDirty: dirty === 0 ? undefined : (categories & dirty) !== 0,
    }
  }

  siftMarkers(from: number, to: number, use: SpanUse): void {
    this.#ioctl.siftMarkers(from, to, use)
  }

  close(): void {
    this.#ioctl.close()
  }

  /**
   * Whether a page of these categories may differ from what it was at the last reset.
   *
   * Over a file more than writes change a page: a zero page can be put there without setting any bit. Outside a range
   * that the tracker watches (WPALLOWED) the bit means nothing: a page moved by mremap can carry its old one. It watches
   * no file: where such a bit is set over one, it is another's.
   */
  #isDirty(categories: number, filePrivate: boolean): boolean {
    if (filePrivate && (categories & PAGE_IS.PFNZERO) !== 0) return true
    if ((categories & this.#doubtful) !== 0) return true
    switch (this.#dirtyBit) {
      case 'all':
        return true
      case 'soft-dirty':
        return (categories & PAGE_IS.SOFT_DIRTY) !== 0
      case 'written':
        return filePrivate || (categories & PAGE_IS.WRITTEN) !== 0 || (categories & PAGE_IS.WPALLOWED) === 0
    }
  }
}

/**
 * The category that a page must not have to be stored by a segment of this class. A zero page over a file
 * (userfaultfd and KSM make them) is stored: its absence would mean the file's content.
 */
function unwanted(storeClass: number): number {
  return storeClass === SEGMENT_CLASS['file-private'] ? PAGE_IS.FILE : PAGE_IS.PFNZERO
}
