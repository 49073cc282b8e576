/**
 * The canary: shows that somebody else reset the dirty bits since our last reset.
 *
 *   our reset        pages that the program cannot write    . . . . . .      all clean
 *   our writes       some of them, by lot                   x . x . . x      rewritten with what they hold
 *   the next dump    the same pattern must be there         x . x . . x      else: reset, or written, by others
 *
 * Another CRIU, a garbage collector, or Tidemark run by another user clears the pattern, or draws one of its own.
 */
import { randomBytes } from 'node:crypto'
import { testBit } from '../core/bitmap.js'
import { slotOfPage, type ChunkDirectory } from '../core/chunks.js'
import { vmaFate } from '../core/fate.js'
import type { Vma } from '../core/vma.js'
import { pageSize } from '../kernel/page-size.js'
import { forceRewrite } from '../kernel/target-memory.js'

/** A page of the pattern. */
export interface CanaryPage {
  readonly page: number
  /** Whether it was rewritten after the reset, and so must be dirty at the next dump; else it must be clean. */
  readonly rewritten: boolean
}

/** Pages of a pattern at most: 2^16 patterns. */
const CANARY_PAGES = 16

/** The bitmaps of one scan. */
export interface ScannedBits {
  readonly chunks: ChunkDirectory
  readonly present: Int32Array
  readonly dirty: Int32Array
}

/**
 * A pattern for the next interval, at least one page of it to be rewritten. Empty where the process has no page of
 * its own that it may not write: then nobody can tell, and the next dump must be full.
 */
export function chooseCanary(vmas: readonly Vma[], { chunks, present }: ScannedBits): CanaryPage[] {
  const pages: number[] = []
  for (const vma of vmas) {
    if (pages.length === CANARY_PAGES) break
    // Copied pages of files: relocated data, mostly. Never part of a huge page, whose bit is one for 512 pages.
    if (vma.write || vma.shared || !vma.read || vmaFate(vma).store !== 'file-private') continue
    for (let page = vma.startPage; page < vma.endPage && pages.length < CANARY_PAGES; page++) {
      const slot = slotOfPage(chunks, page)
      if (slot >= 0 && testBit(present, slot)) pages.push(page)
    }
  }
  const lot = randomBytes(CANARY_PAGES)
  return pages.map((page, index) => ({ page, rewritten: index === 0 || ((lot[index] ?? 0) & 1) === 1 }))
}

/** Whether the pattern of the interval that ends is there. */
export function isCanaryWhole(
  canary: readonly CanaryPage[],
  { chunks, present, dirty }: ScannedBits,
): boolean {
  return (
    canary.length > 0 &&
    canary.every(({ page, rewritten }) => {
      const slot = slotOfPage(chunks, page)
      return slot >= 0 && testBit(present, slot) && testBit(dirty, slot) === rewritten
    })
  )
}

/** Draws the pattern: rewrites one byte of each of its pages with its own value. False where the kernel forbids that. */
export function drawCanary(tid: number, canary: readonly CanaryPage[]): boolean {
  const addresses = canary.filter(({ rewritten }) => rewritten).map(({ page }) => page * pageSize())
  return forceRewrite(tid, addresses)
}
