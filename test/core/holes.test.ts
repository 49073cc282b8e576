import { describe, expect, it } from '@jest/globals'
import fc from 'fast-check'
import { testBit } from '../../src/core/bitmap.js'
import { CHUNK_PAGES, chunkDirectory, pageOfSlot, slotCount } from '../../src/core/chunks.js'
import { findHoles, runBits } from '../../src/core/holes.js'
import { NO_RUNS } from '../../src/core/page-runs.js'
import { pagesOfRuns, runsOf, runsOfPages, type Run } from './builders.js'

/** Runs of small and of many pages, some across the borders of chunks, in ascending order. */
const runLists = fc
  .array(
    fc.tuple(
      fc.oneof(fc.nat({ max: 60 }), fc.nat({ max: CHUNK_PAGES }), fc.constant(CHUNK_PAGES)),
      fc.oneof(fc.integer({ min: 1, max: 70 }), fc.constantFrom(CHUNK_PAGES, 2 * CHUNK_PAGES + 5)),
    ),
    { maxLength: 6 },
  )
  .map((pairs) => {
    let at = 0
    return pairs.map(([gap, pages]): Run => {
      const start = at + gap
      at = start + pages
      return [start, pages]
    })
  })

describe('the bits of runs', () => {
  it('are those of the pages that have slots, and no other', () => {
    const numbers = fc.subarray([0, 1, 2, 3, 4, 5, 6, 7, 8])
    fc.assert(
      fc.property(fc.constantFrom(0, 2 ** 40 - 20), numbers, runLists, (first, list, small) => {
        const chunks = chunkDirectory(list.map((number) => first + number))
        const runs = runsOfPages(pagesOfRuns(small)).map(([start, pages]): Run => [
          start + first * CHUNK_PAGES,
          pages,
        ])
        const pages = new Set(pagesOfRuns(runs))
        const bits = runBits(chunks, runsOf(runs))
        const wrong: number[] = []
        for (let slot = 0; slot < slotCount(chunks); slot++) {
          if (testBit(bits, slot) !== pages.has(pageOfSlot(chunks, slot))) wrong.push(slot)
        }
        expect(wrong).toEqual([])
        expect(bits).toHaveLength(slotCount(chunks) / 32)
      }),
      { numRuns: 60 },
    )
  })

  it('are none for no run, and for runs of terabytes between the chunks', () => {
    const chunks = chunkDirectory([3, 2 ** 30])
    expect(runBits(chunks, NO_RUNS).every((word) => word === 0)).toBe(true)
    const between = runsOf([[4 * CHUNK_PAGES, 2 ** 42 - 4 * CHUNK_PAGES]])
    expect(runBits(chunks, between).every((word) => word === 0)).toBe(true)
  })
})

describe('the hole rule', () => {
  const words = fc.array(fc.tuple(fc.integer(), fc.integer(), fc.integer()), { maxLength: 6 })

  it('leaves a page to the parent where it is present, clean and in the parent, and counts the clean orphans', () => {
    fc.assert(
      fc.property(words, (list) => {
        const [present, dirty, inParent] = [0, 1, 2].map((column) =>
          Int32Array.from(list, (row) => row[column] ?? 0),
        )
        if (present === undefined || dirty === undefined || inParent === undefined) return
        const { bits, cleanNotInParent } = findHoles(present, dirty, inParent)
        const expected: boolean[] = []
        let orphans = 0
        for (let slot = 0; slot < 32 * list.length; slot++) {
          const clean = testBit(present, slot) && !testBit(dirty, slot)
          expected.push(clean && testBit(inParent, slot))
          if (clean && !testBit(inParent, slot)) orphans++
        }
        expect(Array.from(expected, (_, slot) => testBit(bits, slot))).toEqual(expected)
        expect(cleanNotInParent).toBe(orphans)
      }),
      { numRuns: 200 },
    )
  })

  it('is as drawn at the head of its file', () => {
    const bits = (text: string): Int32Array =>
      Int32Array.of(parseInt(text.replaceAll(' ', '').split('').reverse().join(''), 2))
    const holes = findHoles(bits('1 1 1 1 0'), bits('1 0 0 1 0'), bits('1 1 0 0 1'))
    expect([...holes.bits]).toEqual([...bits('0 1 0 0 0')])
    expect(holes.cleanNotInParent).toBe(1)
  })

  it('changes none of the bitmaps that it is given', () => {
    const [present, dirty, inParent] = [Int32Array.of(-1), Int32Array.of(5), Int32Array.of(0xff)]
    findHoles(present, dirty, inParent)
    expect([[...present], [...dirty], [...inParent]]).toEqual([[-1], [5], [0xff]])
  })
})
