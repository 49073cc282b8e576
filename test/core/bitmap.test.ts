import { describe, expect, it } from '@jest/globals'
import fc from 'fast-check'
import {
  allocateBitmap,
  areBitsSet,
  bitmapRuns,
  countBits,
  forEachSpan,
  setBits,
  testBit,
  WORD_SLOTS,
} from '../../src/core/bitmap.js'
import { runsOfPages, type Run } from './builders.js'

const SLOTS = 7 * WORD_SLOTS

/** Ranges [start, end) of slots, many of them on the borders of words. */
const edge = fc.oneof(
  fc.nat({ max: SLOTS }),
  fc.constantFrom(0, 31, 32, 33, 63, 64, 65, 95, 96, 127, 128, SLOTS - 1, SLOTS),
)
const ranges = fc.array(
  fc.tuple(edge, edge).map(([a, b]): [number, number] => [Math.min(a, b), Math.max(a, b)]),
  { maxLength: 12 },
)

/** The same bits, one boolean a slot. */
function twinOf(marked: readonly (readonly [number, number])[]): boolean[] {
  const bits = Array.from({ length: SLOTS }, () => false)
  for (const [start, end] of marked) for (let slot = start; slot < end; slot++) bits[slot] = true
  return bits
}

function bitmapOf(marked: readonly (readonly [number, number])[]): Int32Array {
  const bitmap = allocateBitmap(SLOTS)
  for (const [start, end] of marked) setBits(bitmap, start, end)
  return bitmap
}

function runsIn(bitmap: Int32Array, firstWord: number, words: number): Run[] {
  const runs: Run[] = []
  bitmapRuns(bitmap, firstWord, words, (first, length) => runs.push([first, length]))
  return runs
}

describe('a bitmap', () => {
  it('is made clear, in shared memory, of whole words', () => {
    const lengths = [0, 1, 31, 32, 33, 64, 65].map((slots) => allocateBitmap(slots).length)
    expect(lengths).toEqual([0, 1, 1, 1, 2, 2, 3])
    const bitmap = allocateBitmap(100)
    expect([...bitmap]).toEqual([0, 0, 0, 0])
    expect(Object.prototype.toString.call(bitmap.buffer)).toBe('[object SharedArrayBuffer]')
  })

  it('has exactly the bits of the ranges that were set', () => {
    fc.assert(
      fc.property(ranges, (marked) => {
        const bitmap = bitmapOf(marked)
        const bits = Array.from({ length: SLOTS }, (_, slot) => testBit(bitmap, slot))
        expect(bits).toEqual(twinOf(marked))
      }),
    )
  })

  it('keeps slot 0 in the lowest bit of the first word', () => {
    const bitmap = allocateBitmap(64)
    setBits(bitmap, 0, 1)
    setBits(bitmap, 31, 34)
    expect([...bitmap].map((word) => word >>> 0)).toEqual([0x80000001, 0x00000003])
  })

  it('is left as it is by an empty or reversed range', () => {
    const bitmap = allocateBitmap(96)
    for (const [start, end] of [
      [0, 0],
      [32, 32],
      [64, 33],
      [96, 96],
    ] as const) {
      setBits(bitmap, start, end)
    }
    expect([...bitmap]).toEqual([0, 0, 0])
  })

  it('counts its set bits in any range of words', () => {
    const word = fc.nat({ max: SLOTS / WORD_SLOTS })
    fc.assert(
      fc.property(ranges, word, word, (marked, start, end) => {
        const bits = twinOf(marked).slice(start * WORD_SLOTS, end * WORD_SLOTS)
        expect(countBits(bitmapOf(marked), start, end)).toBe(bits.filter(Boolean).length)
      }),
    )
  })

  it('counts all its bits unless told where', () => {
    fc.assert(
      fc.property(ranges, (marked) => {
        expect(countBits(bitmapOf(marked))).toBe(twinOf(marked).filter(Boolean).length)
      }),
    )
  })
})

describe('the runs of a bitmap', () => {
  it('are the maximal ones, in order, relative to the first word asked for', () => {
    const word = fc.nat({ max: SLOTS / WORD_SLOTS })
    fc.assert(
      fc.property(ranges, word, word, (marked, firstWord, wanted) => {
        const words = Math.min(wanted, SLOTS / WORD_SLOTS - firstWord)
        const bits = twinOf(marked).slice(firstWord * WORD_SLOTS, (firstWord + words) * WORD_SLOTS)
        const slots = bits.flatMap((bit, slot) => (bit ? [slot] : []))
        expect(runsIn(bitmapOf(marked), firstWord, words)).toEqual(runsOfPages(slots))
      }),
      { numRuns: 500 },
    )
  })

  it('are found in words of any content', () => {
    fc.assert(
      fc.property(fc.int32Array({ maxLength: 4 }), (words) => {
        const slots = [...words].flatMap((word, index) =>
          Array.from({ length: 32 }, (_, bit) => Math.floor((word >>> 0) / 2 ** bit) % 2).flatMap(
            (digit, bit) => (digit === 1 ? [index * 32 + bit] : []),
          ),
        )
        expect(runsIn(words, 0, words.length)).toEqual(runsOfPages(slots))
      }),
      { numRuns: 500 },
    )
  })

  it('end at the last word asked for though the bits go on', () => {
    const bitmap = allocateBitmap(128)
    setBits(bitmap, 16, 128)
    expect(runsIn(bitmap, 0, 2)).toEqual([[16, 48]])
    expect(runsIn(bitmap, 1, 2)).toEqual([[0, 64]])
  })
})

describe('the spans of a bitmap', () => {
  it('cover any range once, in order, each of equal bits and unlike its neighbours', () => {
    fc.assert(
      fc.property(ranges, edge, edge, (marked, a, b) => {
        const [start, end] = [Math.min(a, b), Math.max(a, b)]
        const bits = twinOf(marked)
        const expected: [number, number, boolean][] = []
        for (let slot = start; slot < end; slot++) {
          const set = bits[slot] === true
          const last = expected.at(-1)
          if (last?.[2] === set) last[1] = slot + 1
          else expected.push([slot, slot + 1, set])
        }
        const found: [number, number, boolean][] = []
        forEachSpan(bitmapOf(marked), start, end, (first, last, set) => found.push([first, last, set]))
        expect(found).toEqual(expected)
      }),
      { numRuns: 500 },
    )
  })

  it('end where they were to end though the bits go on', () => {
    const bitmap = allocateBitmap(128)
    setBits(bitmap, 0, 128)
    const found: [number, number, boolean][] = []
    forEachSpan(bitmap, 5, 70, (first, last, set) => found.push([first, last, set]))
    expect(found).toEqual([[5, 70, true]])
  })
})

describe('whether all bits of a range are set', () => {
  it('is told as by a look at each', () => {
    fc.assert(
      fc.property(ranges, edge, edge, (marked, a, b) => {
        const [start, end] = [Math.min(a, b), Math.max(a, b)]
        const expected = twinOf(marked).slice(start, end).every(Boolean)
        expect(areBitsSet(bitmapOf(marked), start, end)).toBe(expected)
      }),
      { numRuns: 500 },
    )
  })

  it('is told right with one bit missing anywhere, and with none missing', () => {
    for (let missing = -1; missing < 100; missing++) {
      const bitmap = allocateBitmap(SLOTS)
      setBits(bitmap, 3, missing < 0 ? 103 : missing + 3)
      setBits(bitmap, missing + 4, 103)
      expect(areBitsSet(bitmap, 3, 103)).toBe(missing < 0)
    }
  })
})
