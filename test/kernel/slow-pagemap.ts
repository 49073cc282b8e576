/**
 * The obvious way to read /proc/PID/pagemap: one BigInt a page. The twin of the sources of page bits.
 *
 * source: Documentation/admin-guide/mm/pagemap.rst
 */
import { closeSync, openSync, readSync } from 'node:fs'
import { SEGMENT_CLASS } from '../../src/core/segments.js'
import { pageSize, taskDirectory } from '../support/kernel-vmas.js'
import { zeroFrames } from '../support/zero-frames.js'

/** The bits of one page. */
export interface SlowPage {
  readonly page: number
  readonly present: boolean
  readonly swapped: boolean
  readonly file: boolean
  readonly guard: boolean
  readonly softDirty: boolean
  readonly zero: boolean
  /** The huge zero page, which one kernel interface takes for the zero page and the other does not. */
  readonly hugeZero: boolean
}

/** The pages of [`from`, `to`) that are present or swapped, in order. */
export function slowPages(pid: number, from: number, to: number): SlowPage[] {
  const fd = openSync(`${taskDirectory(pid)}/pagemap`, 'r')
  try {
    const bytes = Buffer.alloc(8 * Math.max(0, to - from))
    let done = 0
    while (done < bytes.length) {
      const length = readSync(fd, bytes, done, bytes.length - done, 8 * from + done)
      if (length === 0) break
      done += length
    }
    const pages: SlowPage[] = []
    for (let index = 0; 8 * index < done; index += 1) {
      const entry = bytes.readBigUInt64LE(8 * index)
      if (entry >> 62n !== 0n) pages.push(describe(from + index, entry))
    }
    return pages
  } finally {
    closeSync(fd)
  }
}

/** Whether a segment of class `storeClass` stores the page, or tells it as a guard page. */
export function isWanted(page: SlowPage, storeClass: number): boolean {
  if (page.zero) return false
  return !(storeClass === SEGMENT_CLASS['file-private'] && page.file)
}

function describe(page: number, entry: bigint): SlowPage {
  const has = (bit: bigint): boolean => ((entry >> bit) & 1n) === 1n
  const present = has(63n)
  const frame = present ? Number(entry & ((1n << 55n) - 1n)) : 0
  const { zero, hugeZero } = zeroFrames()
  const hugePages = 2 ** 21 / pageSize()
  return {
    page,
    present,
    swapped: has(62n),
    file: has(61n),
    guard: has(58n),
    softDirty: has(55n),
    zero: frame !== 0 && frame === zero,
    hugeZero: frame !== 0 && hugeZero !== 0 && frame >= hugeZero && frame < hugeZero + hugePages,
  }
}
