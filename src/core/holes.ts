/**
 * The hole rule: a page is left to the parent only if it is clean *and* the parent's pagemap lists it.
 *
 *   present     1 1 1 1 0
 *   dirty       1 0 0 1 0        written since the parent, by the tracker
 *   in parent   1 1 0 0 1
 *   hole        0 1 0 0 0        everything else that is present is stored, also a clean page that the parent lacks
 *
 * What is in the parent and no longer present is in neither list: a child's pagemap is complete, so absence
 * means zero, unmapped, or the file's.
 */
import { allocateBitmap, countBits, setBits } from './bitmap.js'
import { CHUNK_PAGES, lowerChunk, slotCount, type ChunkDirectory } from './chunks.js'
import type { PageRuns } from './page-runs.js'

/** Bits of the pages of `runs` that have slots. */
export function runBits(chunks: ChunkDirectory, runs: PageRuns): Int32Array {
  const bits = allocateBitmap(slotCount(chunks))
  for (let run = 0; run < runs.count; run++)
    setPageBits(chunks, bits, runs.startPage[run] ?? 0, runs.pageCount[run] ?? 0)
  return bits
}

/** Sets the bits of `pages` pages from `start` on, as far as they have slots. */
export function setPageBits(chunks: ChunkDirectory, bits: Int32Array, start: number, pages: number): void {
  const end = start + pages
  let index = lowerChunk(chunks, Math.floor(start / CHUNK_PAGES))
  for (; index < chunks.count; index++) {
    const chunkStart = (chunks.numbers[index] ?? 0) * CHUNK_PAGES
    if (chunkStart >= end) break
    const first = Math.max(0, start - chunkStart)
    const last = Math.min(CHUNK_PAGES, end - chunkStart)
    setBits(bits, index * CHUNK_PAGES + first, index * CHUNK_PAGES + last)
  }
}

/** What the hole rule says. */
export interface Holes {
  /** Bits of the pages that are left to the parent. */
  readonly bits: Int32Array
  /** Clean pages that the parent lacks, and that are stored. */
  readonly cleanNotInParent: number
}

/** Applies the rule to bitmaps over the same slots. */
export function findHoles(present: Int32Array, dirty: Int32Array, inParent: Int32Array): Holes {
  const bits = allocateBitmap(present.length * 32)
  const orphans = new Int32Array(present.length)
  for (let word = 0; word < present.length; word++) {
    const clean = (present[word] ?? 0) & ~(dirty[word] ?? 0)
    bits[word] = clean & (inParent[word] ?? 0)
    orphans[word] = clean & ~(inParent[word] ?? 0)
  }
  return { bits, cleanNotInParent: countBits(orphans) }
}
