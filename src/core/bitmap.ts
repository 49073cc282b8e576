/**
 * Bitmaps over page slots, in shared memory, 32 slots a word.
 *
 * Only bit numbers within one word meet a bit operator: on a global slot or page number it would silently
 * alias above 2^32. No two threads write one word (shards are whole words), so plain stores suffice.
 */

/** Slots in one word. */
export const WORD_SLOTS = 32

/** A bitmap of `slots` clear bits, rounded up to whole words, that every thread can see. */
export function allocateBitmap(slots: number): Int32Array {
  return new Int32Array(new SharedArrayBuffer(4 * Math.ceil(slots / WORD_SLOTS)))
}

/** Sets the bits of slots [`start`, `end`). */
export function setBits(bitmap: Int32Array, start: number, end: number): void {
  if (start >= end) return
  const firstWord = Math.floor(start / WORD_SLOTS)
  const lastWord = Math.floor((end - 1) / WORD_SLOTS)
  const head = -1 << (start % WORD_SLOTS)
  const tail = -1 >>> (WORD_SLOTS - 1 - ((end - 1) % WORD_SLOTS))
  if (firstWord === lastWord) {
    bitmap[firstWord] = (bitmap[firstWord] ?? 0) | (head & tail)
    return
  }
  bitmap[firstWord] = (bitmap[firstWord] ?? 0) | head
  bitmap.fill(-1, firstWord + 1, lastWord)
  bitmap[lastWord] = (bitmap[lastWord] ?? 0) | tail
}

/** Whether the bit of `slot` is set. */
export function testBit(bitmap: Int32Array, slot: number): boolean {
  return (((bitmap[Math.floor(slot / WORD_SLOTS)] ?? 0) >>> (slot % WORD_SLOTS)) & 1) === 1
}

/** Whether the bits of all slots [`start`, `end`) are set. */
export function areBitsSet(bitmap: Int32Array, start: number, end: number): boolean {
  for (let at = start; at < end;) {
    const whole = at % WORD_SLOTS === 0 && end - at >= WORD_SLOTS
    if (whole ? bitmap[at / WORD_SLOTS] !== -1 : !testBit(bitmap, at)) return false
    at += whole ? WORD_SLOTS : 1
  }
  return true
}

/** Number of set bits in words [`start`, `end`). */
export function countBits(bitmap: Int32Array, start = 0, end = bitmap.length): number {
  let total = 0
  for (let index = start; index < end; index++) {
    let word = bitmap[index] ?? 0
    if (word === 0) continue
    word -= (word >>> 1) & 0x55555555
    word = (word & 0x33333333) + ((word >>> 2) & 0x33333333)
    total += Math.imul((word + (word >>> 4)) & 0x0f0f0f0f, 0x01010101) >>> 24
  }
  return total
}

/**
 * Calls `visit` for each maximal run of set bits in `words` words from word `firstWord`, in order.
 *
 * @param visit - gets the run's first bit, relative to `firstWord`, and its length in bits
 */
export function bitmapRuns(
  bitmap: Int32Array,
  firstWord: number,
  words: number,
  visit: (first: number, length: number) => void,
): void {
  let runStart = -1
  for (let index = 0; index < words; index++) {
    const word = bitmap[firstWord + index] ?? 0
    const base = index * WORD_SLOTS
    if (word === 0) {
      if (runStart >= 0) visit(runStart, base - runStart)
      runStart = -1
    } else if (word === -1) {
      if (runStart < 0) runStart = base
    } else {
      runStart = mixedWordRuns(word, base, runStart, visit)
    }
  }
  if (runStart >= 0) visit(runStart, words * WORD_SLOTS - runStart)
}

/** Calls `visit` for each maximal span of equal bits in [`start`, `end`), in order. */
export function forEachSpan(
  bitmap: Int32Array,
  start: number,
  end: number,
  visit: (start: number, end: number, set: boolean) => void,
): void {
  for (let at = start; at < end;) {
    const set = testBit(bitmap, at)
    const from = at
    while (at < end && testBit(bitmap, at) === set) {
      // A word of 32 equal bits is passed in one step.
      const whole = at % WORD_SLOTS === 0 && bitmap[at / WORD_SLOTS] === (set ? -1 : 0)
      at += whole ? WORD_SLOTS : 1
    }
    at = Math.min(at, end)
    visit(from, at, set)
  }
}

/** The runs of a word that is neither all clear nor all set; returns where an open run began, or -1. */
function mixedWordRuns(
  word: number,
  base: number,
  runStart: number,
  visit: (first: number, length: number) => void,
): number {
  let bit = 0
  let open = runStart
  while (bit < WORD_SLOTS) {
    // The part of the word from `bit` on, inverted inside a run: its lowest set bit is the next edge.
    const rest = (open < 0 ? word : ~word) & (-1 << bit)
    if (rest === 0) break
    bit = 31 - Math.clz32(rest & -rest)
    if (open < 0) {
      open = base + bit
    } else {
      visit(open, base + bit - open)
      open = -1
    }
  }
  return open
}
