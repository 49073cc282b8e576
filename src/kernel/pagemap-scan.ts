/**
 * Page bits by the PAGEMAP_SCAN ioctl: the kernel filters, and skips what is empty.
 *
 * source: include/uapi/linux/fs.h struct pm_scan_arg, fs/proc/task_mmu.c do_pagemap_scan
 */
import { closeSync, openSync } from 'node:fs'
import { SEGMENT_CLASS } from '../core/segments.js'
import { pushRange, RANGE_DIRTY, RANGE_GUARD, RANGE_SWAPPED, type PageRanges } from '../core/page-ranges.js'
import { PAGE_IS, PAGEMAP_SCAN, PM_SCAN_ARG as ARG, PM_SCAN_ARG_BYTES } from './abi.js'
import type { KernelFeatures } from './features.js'
import { addressOf, errno, ESRCH, ioctl, syscallError } from './libc.js'
import { pageSize } from './page-size.js'
import type { PageFacts, PagemapSource } from './pagemap-source.js'
import { targetDied } from './procfs.js'

const REGIONS = 16_384
const WORDS_PER_REGION = 6
const HIGH_WORD = 2 ** 32

/** What the last call found. One for all scanners of a thread: each reads it before it calls again. */
const regions = new Uint32Array(REGIONS * WORDS_PER_REGION)

/** Scans one process. Belongs to the thread that made it. */
export class PagemapScanner implements PagemapSource {
  readonly name = 'PAGEMAP_SCAN'
  readonly #tid: number
  readonly #fd: number
  /** Categories that this kernel knows, or 0: an unknown one is EINVAL. Without soft-dirty every page counts as dirty. */
  readonly #guard: number
  readonly #dirty: number
  readonly #pageSize = pageSize()
  readonly #argument = new BigUint64Array(PM_SCAN_ARG_BYTES / 8)

  constructor(tid: number, features: KernelFeatures) {
    this.#tid = tid
    this.#fd = openSync(`/proc/${String(tid)}/pagemap`, 'r')
    this.#guard = features.guardCategory ? PAGE_IS.GUARD : 0
    this.#dirty = features.softDirty && features.softDirtyCategory ? PAGE_IS.SOFT_DIRTY : 0
    this.#argument[ARG.size] = BigInt(PM_SCAN_ARG_BYTES)
    this.#argument[ARG.vec] = BigInt(addressOf(regions))
  }

  scan(from: number, to: number, storeClass: number, out: PageRanges): number {
    const dirty = this.#dirty
    const guard = this.#guard
    this.#ask(unwanted(storeClass), PAGE_IS.SWAPPED | guard | dirty, 0, Math.min(REGIONS, out.capacity))
    out.count = 0
    const found = this.#call(from, to)
    for (let index = 0; index < found; index++) {
      const categories = regions[index * WORDS_PER_REGION + 4] ?? 0
      const swapped = (categories & PAGE_IS.SWAPPED) === 0 ? 0 : RANGE_SWAPPED
      const guarded = (categories & guard) === 0 ? 0 : RANGE_GUARD
      const written = dirty !== 0 && (categories & dirty) === 0 ? 0 : RANGE_DIRTY
      pushRange(out, this.#regionStart(index), this.#regionEnd(index), swapped | guarded | written)
    }
    if (found < Math.min(REGIONS, out.capacity)) return to
    // A full vector: Linux 6.18's walk_end can lie before pages that were already put out.
    const walkEnd = Number(this.#argument[ARG.walkEnd] ?? 0n) / this.#pageSize
    return Math.min(to, Math.max(walkEnd, this.#regionEnd(found - 1)))
  }

  describe(page: number): PageFacts {
    const known = PAGE_IS.FILE | PAGE_IS.PRESENT | PAGE_IS.SWAPPED | PAGE_IS.PFNZERO
    const guard = this.#guard
    const dirty = this.#dirty
    this.#ask(0, known | guard | dirty, 0, 1)
    const categories = this.#call(page, page + 1) === 0 ? 0 : (regions[4] ?? 0)
    return {
      present: (categories & PAGE_IS.PRESENT) !== 0,
      swapped: (categories & PAGE_IS.SWAPPED) !== 0,
      file: (categories & PAGE_IS.FILE) !== 0,
      zero: (categories & PAGE_IS.PFNZERO) !== 0,
      guard: (categories & guard) !== 0,
      softDirty: dirty === 0 ? undefined : (categories & dirty) !== 0,
    }
  }

  close(): void {
    closeSync(this.#fd)
  }

  #ask(unwanted: number, returned: number, maxPages: number, vecLen: number): void {
    this.#argument[ARG.inverted] = BigInt(unwanted)
    this.#argument[ARG.mask] = BigInt(unwanted)
    this.#argument[ARG.anyOf] = BigInt(PAGE_IS.PRESENT | PAGE_IS.SWAPPED)
    this.#argument[ARG.returned] = BigInt(returned)
    this.#argument[ARG.maxPages] = BigInt(maxPages)
    this.#argument[ARG.vecLen] = BigInt(vecLen)
  }

  /** Number of regions found in pages [`from`, `to`). */
  #call(from: number, to: number): number {
    this.#argument[ARG.start] = BigInt(from * this.#pageSize)
    this.#argument[ARG.end] = BigInt(to * this.#pageSize)
    const found = ioctl(this.#fd, PAGEMAP_SCAN, this.#argument)
    if (found < 0) {
      if (errno() === ESRCH) throw targetDied(this.#tid)
      throw syscallError('ioctl(PAGEMAP_SCAN)', 'cannot scan the page tables')
    }
    return found
  }

  #regionStart(index: number): number {
    const at = index * WORDS_PER_REGION
    return ((regions[at] ?? 0) + (regions[at + 1] ?? 0) * HIGH_WORD) / this.#pageSize
  }

  #regionEnd(index: number): number {
    const at = index * WORDS_PER_REGION
    return ((regions[at + 2] ?? 0) + (regions[at + 3] ?? 0) * HIGH_WORD) / this.#pageSize
  }
}

/**
 * The category that a page must not have to be stored by a segment of this class. A zero page over a file
 * (userfaultfd and KSM make them) is stored: its absence would mean the file's content.
 */
function unwanted(storeClass: number): number {
  return storeClass === SEGMENT_CLASS['file-private'] ? PAGE_IS.FILE : PAGE_IS.PFNZERO
}
