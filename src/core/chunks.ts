/**
 * The chunk directory: which parts of the address space have slots in the bitmaps.
 *
 *   address space   |....|##..|....  20 TiB of nothing  ....|..#.|####|      chunks of CHUNK_PAGES pages
 *   directory             7                                  905  906        numbers of the populated ones
 *   slots                 0..4095                            4096.. 8192..   index in directory * CHUNK_PAGES
 *
 * A sanitizer, Go or a JVM reserves terabytes; slots for all of it would cost 32 MiB a tebibyte and bitmap,
 * so only chunks that hold at least one page have any.
 */
import { forEachSpan } from './bitmap.js'

/** Pages in a chunk: 16 MiB of 4 KiB pages. A multiple of the bitmap's word. */
export const CHUNK_PAGES = 4096

/** Sorted numbers (page number / CHUNK_PAGES) of the chunks that have slots. Shared memory. */
export interface ChunkDirectory {
  readonly count: number
  /** Ascending chunk numbers. Length `count`. */
  readonly numbers: Float64Array
}

/** A directory of `numbers`, which may repeat and come in any order. */
export function chunkDirectory(numbers: Iterable<number>): ChunkDirectory {
  const sorted = Float64Array.from(new Set(numbers)).sort()
  const shared = new Float64Array(new SharedArrayBuffer(8 * sorted.length))
  shared.set(sorted)
  return { count: sorted.length, numbers: shared }
}

/** Number of slots that `chunks` has. */
export function slotCount(chunks: ChunkDirectory): number {
  return chunks.count * CHUNK_PAGES
}

/** Index in the directory of the first chunk whose number is at least `chunk`. */
export function lowerChunk(chunks: ChunkDirectory, chunk: number): number {
  let low = 0
  let high = chunks.count
  while (low < high) {
    const middle = Math.floor((low + high) / 2)
    if ((chunks.numbers[middle] ?? 0) < chunk) low = middle + 1
    else high = middle
  }
  return low
}

/** The slot of `page`, or -1 where its chunk has none. */
export function slotOfPage(chunks: ChunkDirectory, page: number): number {
  const chunk = Math.floor(page / CHUNK_PAGES)
  const index = lowerChunk(chunks, chunk)
  return index < chunks.count && chunks.numbers[index] === chunk
    ? index * CHUNK_PAGES + (page % CHUNK_PAGES)
    : -1
}

/** The page that `slot` stands for. */
export function pageOfSlot(chunks: ChunkDirectory, slot: number): number {
  return (chunks.numbers[Math.floor(slot / CHUNK_PAGES)] ?? 0) * CHUNK_PAGES + (slot % CHUNK_PAGES)
}

/** Calls `use` for pages [`start`, `end`), span by span, with whether their bit is set; one without a slot has none. */
export function forEachPageSpan(
  chunks: ChunkDirectory,
  bitmap: Int32Array,
  start: number,
  end: number,
  use: (from: number, to: number, isSet: boolean) => void,
): void {
  for (let page = start; page < end;) {
    const at = page
    const stop = Math.min(end, (Math.floor(page / CHUNK_PAGES) + 1) * CHUNK_PAGES)
    const slot = slotOfPage(chunks, page)
    if (slot < 0) use(page, stop, false)
    else {
      forEachSpan(bitmap, slot, slot + stop - page, (from, to, isSet) => {
        use(at + from - slot, at + to - slot, isSet)
      })
    }
    page = stop
  }
}
