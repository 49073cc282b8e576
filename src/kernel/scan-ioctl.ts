/**
 * The PAGEMAP_SCAN ioctl: one question over a range of pages, its answer as regions.
 *
 * source: include/uapi/linux/fs.h struct pm_scan_arg, fs/proc/task_mmu.c do_pagemap_scan
 */
import { closeSync, openSync } from 'node:fs'
import { PAGE_IS, PAGEMAP_SCAN, PM_SCAN_ARG as ARG, PM_SCAN_ARG_BYTES } from './abi.js'
import { addressOf, errno, ESRCH, ioctl, syscallError } from './libc.js'
import { pageSize } from './page-size.js'
import { targetDied } from './procfs.js'
import { siftMarkers, type SpanUse } from './pte-markers.js'

const REGIONS = 16_384
const WORDS_PER_REGION = 6
const HIGH_WORD = 2 ** 32

/** What the last call found. One for all scans of a thread: each reads it before it calls again. */
const regions = new Uint32Array(REGIONS * WORDS_PER_REGION)

/** Which pages are asked for: all that are present or swapped, and the conditions beyond that. */
export interface ScanQuestion {
  /** Categories that a page must have. */
  readonly wanted?: number
  /** Categories that a page must not have. */
  readonly unwanted?: number
  /** Categories that the answer tells of. */
  readonly returned: number
  /** PM_SCAN_* flags. */
  readonly flags?: number
  /** Regions at most. */
  readonly limit?: number
}

/** Asks about one process. Belongs to the thread that made it. */
export class ScanIoctl {
  readonly #tid: number
  readonly #fd: number
  readonly #pageSize = pageSize()
  readonly #argument = new BigUint64Array(PM_SCAN_ARG_BYTES / 8)
  #limit = REGIONS

  /** @param tid - a live thread of the process */
  constructor(tid: number) {
    this.#tid = tid
    this.#fd = openSync(`/proc/${String(tid)}/pagemap`, 'r')
    this.#argument[ARG.size] = BigInt(PM_SCAN_ARG_BYTES)
    this.#argument[ARG.vec] = BigInt(addressOf(regions))
  }

  /** Sets the question of the next calls. */
  ask({ wanted = 0, unwanted = 0, returned, flags = 0, limit = REGIONS }: ScanQuestion): void {
    this.#limit = Math.min(REGIONS, limit)
    this.#argument[ARG.flags] = BigInt(flags)
    this.#argument[ARG.inverted] = BigInt(unwanted)
    this.#argument[ARG.mask] = BigInt(wanted | unwanted)
    this.#argument[ARG.anyOf] = BigInt(PAGE_IS.PRESENT | PAGE_IS.SWAPPED)
    this.#argument[ARG.returned] = BigInt(returned)
    this.#argument[ARG.vecLen] = BigInt(this.#limit)
  }

  /** Number of regions found in pages [`from`, `to`). Throws `TARGET_DIED`, `SYSCALL_FAILED`. */
  call(from: number, to: number): number {
    this.#argument[ARG.start] = BigInt(from * this.#pageSize)
    this.#argument[ARG.end] = BigInt(to * this.#pageSize)
    const found = ioctl(this.#fd, PAGEMAP_SCAN, this.#argument)
    if (found < 0) {
      if (errno() === ESRCH) throw targetDied(this.#tid)
      throw syscallError('ioctl(PAGEMAP_SCAN)', 'cannot scan the page tables')
    }
    return found
  }

  /** The page to go on from after a call up to `to` that found `found` regions. */
  resume(found: number, to: number): number {
    if (found < this.#limit) return to
    // A full vector: Linux 6.18's walk_end can lie before pages that were already put out.
    const walkEnd = Number(this.#argument[ARG.walkEnd] ?? 0n) / this.#pageSize
    return Math.min(to, Math.max(walkEnd, this.end(found - 1)))
  }

  /** First page of region `index` of the last call. */
  start(index: number): number {
    const at = index * WORDS_PER_REGION
    return ((regions[at] ?? 0) + (regions[at + 1] ?? 0) * HIGH_WORD) / this.#pageSize
  }

  /** End of region `index`, exclusive. */
  end(index: number): number {
    const at = index * WORDS_PER_REGION
    return ((regions[at + 2] ?? 0) + (regions[at + 3] ?? 0) * HIGH_WORD) / this.#pageSize
  }

  /** Categories of region `index`. */
  categories(index: number): number {
    return regions[index * WORDS_PER_REGION + 4] ?? 0
  }

  /** Tells markers from what is swapped out, see {@link siftMarkers}. */
  siftMarkers(from: number, to: number, use: SpanUse): void {
    siftMarkers(this.#fd, from, to, use)
  }

  close(): void {
    closeSync(this.#fd)
  }
}
