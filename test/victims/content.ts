/**
 * What the victims write into their pages: a pseudo-random pattern, stamped with page number and seed.
 *
 *   page    |page lo hi, seed|  pattern ...  |page lo hi, seed|  pattern ...  |page lo hi, seed|
 *   offset   0                                2048                             4080
 *
 * So no two pages of a process are alike, a page found at a wrong place is noticed, and a test can work out
 * any page without asking the victim. The pattern repeats every BLOCK_PAGES pages, so that a gibibyte is
 * filled by copying one block again and again.
 */

/** Bytes in a page. The victims carry x86-64 machine code, where this never varies. */
export const PAGE_SIZE = 4096

/** Pages in the block of pattern. 2 MiB: small enough for a cache, large enough for few copies. */
export const BLOCK_PAGES = 512

const STAMP_OFFSETS = [0, 2048, PAGE_SIZE - 16] as const
const WORDS_PER_PAGE = PAGE_SIZE / 4
const TWO_TO_32 = 2 ** 32

/** A generator of pseudo-random 32-bit numbers (mulberry32) that starts from `seed`. */
export function randomWords(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return (mixed ^ (mixed >>> 14)) >>> 0
  }
}

/** A block of BLOCK_PAGES pages of pattern without stamps. It begins on a page border, for the speed of copies. */
export function patternBlock(): Buffer {
  const room = Buffer.allocUnsafeSlow(BLOCK_PAGES * PAGE_SIZE)
  const words = new Uint32Array(room.buffer, room.byteOffset, BLOCK_PAGES * WORDS_PER_PAGE)
  const next = randomWords(1)
  for (let index = 0; index < words.length; index += 1) words[index] = next()
  return room
}

/** Writes the stamps of pages `firstPage` up to `firstPage + pages`, exclusive, into their slots of `block`. */
export function stampPages(block: Buffer, firstPage: number, pages: number, seed: number): void {
  const words = new Uint32Array(block.buffer, block.byteOffset, BLOCK_PAGES * WORDS_PER_PAGE)
  for (let page = firstPage; page < firstPage + pages; page += 1) {
    const slot = (page % BLOCK_PAGES) * WORDS_PER_PAGE
    for (const offset of STAMP_OFFSETS) {
      const word = slot + offset / 4
      words[word] = page % TWO_TO_32
      words[word + 1] = Math.floor(page / TWO_TO_32)
      words[word + 2] = seed
    }
  }
}

let cachedBlock: Buffer | undefined

/** The PAGE_SIZE bytes that a victim writes into page number `page` with `seed`. A fresh copy. */
export function pageContent(page: number, seed: number): Buffer {
  cachedBlock ??= patternBlock()
  stampPages(cachedBlock, page, 1, seed)
  const slot = page % BLOCK_PAGES
  return Buffer.from(cachedBlock.subarray(slot * PAGE_SIZE, (slot + 1) * PAGE_SIZE))
}
