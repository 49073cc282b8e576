import { describe, expect, it } from '@jest/globals'
import fc from 'fast-check'
import {
  allocateRanges,
  pushRange,
  RANGE_DIRTY,
  RANGE_GUARD,
  RANGE_SWAPPED,
  type PageRanges,
} from '../../src/core/page-ranges.js'

type Row = [start: number, end: number, flags: number]

function rowsOf(ranges: PageRanges): Row[] {
  return Array.from({ length: ranges.count }, (_, row): Row => [
    ranges.startPage[row] ?? NaN,
    ranges.endPage[row] ?? NaN,
    ranges.flags[row] ?? NaN,
  ])
}

describe('a list of page ranges', () => {
  it('joins a range to the last where it goes on with the same flags', () => {
    const ranges = allocateRanges(8)
    pushRange(ranges, 10, 12, 0)
    pushRange(ranges, 12, 13, 0)
    pushRange(ranges, 13, 15, RANGE_DIRTY)
    pushRange(ranges, 16, 17, RANGE_DIRTY)
    expect(rowsOf(ranges)).toEqual([
      [10, 13, 0],
      [13, 15, RANGE_DIRTY],
      [16, 17, RANGE_DIRTY],
    ])
  })

  it('takes no range as joined to what was there before it was emptied', () => {
    const ranges = allocateRanges(2)
    pushRange(ranges, 10, 12, 0)
    ranges.count = 0
    pushRange(ranges, 12, 14, 0)
    expect(rowsOf(ranges)).toEqual([[12, 14, 0]])
  })

  it('tells every page with its flags, in as few rows as there are borders', () => {
    const flags = fc.constantFrom(0, RANGE_DIRTY, RANGE_SWAPPED | RANGE_DIRTY, RANGE_GUARD)
    const steps = fc.array(fc.tuple(fc.nat({ max: 2 }), fc.integer({ min: 1, max: 4 }), flags))
    const base = fc.constantFrom(0, 2 ** 32 - 5, 2 ** 52 - 1000)
    fc.assert(
      fc.property(base, steps, (first, pieces) => {
        const ranges = allocateRanges(pieces.length)
        const pages: [number, number][] = []
        let at = first
        for (const [gap, length, mark] of pieces) {
          at += gap
          pushRange(ranges, at, at + length, mark)
          for (let page = at; page < at + length; page++) pages.push([page, mark])
          at += length
        }
        const told = rowsOf(ranges).flatMap(([start, end, mark]) =>
          Array.from({ length: end - start }, (_, index): [number, number] => [start + index, mark]),
        )
        expect(told).toEqual(pages)
        const borders = pages.filter(([page, mark], index) => {
          const before = pages[index - 1]
          return before?.[0] !== page - 1 || before[1] !== mark
        })
        expect(ranges.count).toBe(borders.length)
      }),
    )
  })

  it('has flags that can be told apart', () => {
    expect(new Set([0, RANGE_SWAPPED, RANGE_DIRTY, RANGE_GUARD]).size).toBe(4)
    expect(RANGE_SWAPPED & RANGE_DIRTY & RANGE_GUARD).toBe(0)
    expect(RANGE_SWAPPED | RANGE_DIRTY | RANGE_GUARD).toBe(RANGE_SWAPPED + RANGE_DIRTY + RANGE_GUARD)
  })
})
