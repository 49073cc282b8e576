/**
 * Page bits from /proc/PID/pagemap: 64 bits a page, for kernels before 6.7.
 *
 * source: Documentation/admin-guide/mm/pagemap.rst, fs/proc/task_mmu.c
 */
import { closeSync, openSync } from 'node:fs'
import { SEGMENT_CLASS } from '../core/segments.js'
import {
  pushRange,
  RANGE_DIRTY,
  RANGE_GUARD,
  RANGE_SWAPPED,
  type DirtyBit,
  type PageRanges,
} from '../core/page-ranges.js'
import { ENTRY_BYTES, HUGE_PAGE_BYTES, PAGEMAP_HIGH as HIGH } from './abi.js'
import type { KernelFeatures } from './features.js'
import { pread, syscallError } from './libc.js'
import { pageSize } from './page-size.js'
import type { PageFacts, PagemapSource } from './pagemap-source.js'
import { targetDied } from './procfs.js'
import { siftMarkers, type SpanUse } from './pte-markers.js'

const HIGH_WORD = 2 ** 32
/** Pages read by one call: 256 KiB of entries. */
const BLOCK_PAGES = 32_768

/** What the last call read. One for all readers of a thread: each looks before it reads again. */
const entries = new Uint32Array(BLOCK_PAGES * 2)

/** Reads the pagemap of one process. Belongs to the thread that made it. */
export class PagemapReader implements PagemapSource {
  readonly name = '/proc/PID/pagemap'
  readonly #tid: number
  readonly #fd: number
  readonly #features: KernelFeatures
  readonly #dirtyBit: DirtyBit
  readonly #hugePages = HUGE_PAGE_BYTES / pageSize()
  readonly seesMarkers: boolean

  constructor(tid: number, features: KernelFeatures, dirtyBit: DirtyBit) {
    this.#tid = tid
    this.#fd = openSync(`/proc/${String(tid)}/pagemap`, 'r')
    this.#features = features
    this.seesMarkers = features.zeroPfn !== undefined
    this.#dirtyBit = dirtyBit
  }

  scan(from: number, to: number, storeClass: number, out: PageRanges): number {
    out.count = 0
    for (let block = from; block < to; block += BLOCK_PAGES) {
      const pages = this.#readAlive(block, Math.min(BLOCK_PAGES, to - block))
      for (let index = 0; index < pages; index++) {
        if (!this.#isStored(index, storeClass)) continue
        if (out.count === out.capacity) return block + index
        pushRange(out, block + index, block + index + 1, this.#rangeFlags(index))
      }
    }
    return to
  }

  describe(page: number): PageFacts {
    const high = this.#read(page, 1) === 0 ? 0 : (entries[1] ?? 0)
    return {
      present: (high & HIGH.present) !== 0,
      swapped: (high & HIGH.swapped) !== 0,
      file: (high & HIGH.file) !== 0,
      zero: this.#isZeroPage(0, high),
      guard: (high & HIGH.guard) !== 0,
      softDirty: this.#features.softDirty ? (high & HIGH.softDirty) !== 0 : undefined,
    }
  }

  siftMarkers(from: number, to: number, use: SpanUse): void {
    siftMarkers(this.#fd, from, to, use)
  }

  close(): void {
    closeSync(this.#fd)
  }

  #isStored(index: number, storeClass: number): boolean {
    const high = entries[2 * index + 1] ?? 0
    if ((high & (HIGH.present | HIGH.swapped)) === 0) return false
    // A zero page over a file is stored: its absence would mean the file's content.
    if (storeClass === SEGMENT_CLASS['file-private']) return (high & HIGH.file) === 0
    return !this.#isZeroPage(index, high)
  }

  /** Whether the entry is the zero page, or a page of the huge one. */
  #isZeroPage(index: number, high: number): boolean {
    const { zeroPfn, hugeZeroPfn } = this.#features
    if (zeroPfn === undefined || (high & HIGH.present) === 0) return false
    const pfn = (entries[2 * index] ?? 0) + (high & HIGH.pfn) * HIGH_WORD
    if (pfn === zeroPfn) return true
    return hugeZeroPfn !== undefined && pfn >= hugeZeroPfn && pfn < hugeZeroPfn + this.#hugePages
  }

  #rangeFlags(index: number): number {
    const high = entries[2 * index + 1] ?? 0
    const swapped = (high & HIGH.swapped) === 0 ? 0 : RANGE_SWAPPED
    // A zero page over a file may have been put there without setting the bit.
    const clean =
      this.#dirtyBit === 'soft-dirty' && (high & HIGH.softDirty) === 0 && !this.#isZeroPage(index, high)
    const written = clean ? 0 : RANGE_DIRTY
    return swapped | written | ((high & HIGH.guard) === 0 ? 0 : RANGE_GUARD)
  }

  /** Reads the entries of `pages` pages from `page` on; returns how many there are (fewer above the address space). */
  #read(page: number, pages: number): number {
    const length = pread(this.#fd, entries, pages * ENTRY_BYTES, page * ENTRY_BYTES)
    if (length < 0) throw syscallError('pread', 'cannot read /proc/PID/pagemap')
    return length / ENTRY_BYTES
  }

  /** The same for pages of a process's own: there are none only where it has ended. */
  #readAlive(page: number, pages: number): number {
    const found = this.#read(page, pages)
    if (found === 0) throw targetDied(this.#tid)
    return found
  }
}
