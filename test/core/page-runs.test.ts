import { describe, expect, it } from '@jest/globals'
import fc from 'fast-check'
import {
  countPages,
  mergeRuns,
  NO_RUNS,
  pagesWithin,
  RunList,
  type PageRuns,
} from '../../src/core/page-runs.js'
import { listRuns, pagesOfRuns, runsOfPages, type Run } from './builders.js'

/** Pieces in ascending order: pages left out before each, its length, and which of two lists it is for. */
const pieces = fc
  .tuple(
    fc.constantFrom(0, 2 ** 32 - 20, 2 ** 52 - 2000),
    fc.array(fc.tuple(fc.nat({ max: 3 }), fc.integer({ min: 1, max: 40 }), fc.boolean()), { maxLength: 30 }),
  )
  .map(([first, list]) => {
    let at = first
    return list.map(([gap, pages, second]) => {
      const start = at + gap
      at = start + pages
      const run: Run = [start, pages]
      return { run, second }
    })
  })

function collected(runs: readonly Run[]): PageRuns {
  const list = new RunList()
  for (const [start, pages] of runs) list.add(start, pages)
  return list.toRuns()
}

describe('a list of runs', () => {
  it('makes one run of neighbours, as a walk over the pages does', () => {
    fc.assert(
      fc.property(pieces, (list) => {
        const runs = list.map(({ run }) => run)
        expect(listRuns(collected(runs))).toEqual(runsOfPages(pagesOfRuns(runs)))
      }),
    )
  })

  it('tells how many pages of a range it has, as a walk over the pages does', () => {
    fc.assert(
      fc.property(pieces, fc.nat({ max: 900 }), fc.nat({ max: 900 }), (list, skipped, length) => {
        const runs = list.map(({ run }) => run)
        const start = Math.max(0, (runs[0]?.[0] ?? 0) - 20 + skipped)
        const inside = pagesOfRuns(runs).filter((page) => page >= start && page < start + length)
        expect(pagesWithin(collected(runs), start, start + length)).toBe(inside.length)
      }),
    )
  })

  it('holds many more runs than it had room for at first', () => {
    const runs = Array.from({ length: 5000 }, (_, index): Run => [3 * index, 2])
    expect(listRuns(collected(runs))).toEqual(runs)
  })

  it('can be asked in between, and goes on', () => {
    const list = new RunList()
    list.add(5, 1)
    const before = list.toRuns()
    list.add(6, 2)
    list.add(9, 1)
    expect(listRuns(before)).toEqual([[5, 1]])
    expect(listRuns(list.toRuns())).toEqual([
      [5, 3],
      [9, 1],
    ])
  })

  it('gives columns in shared memory, of exactly its length', () => {
    const runs = collected([
      [1, 1],
      [7, 2],
    ])
    for (const column of [runs.startPage, runs.pageCount, NO_RUNS.startPage, NO_RUNS.pageCount]) {
      expect(Object.prototype.toString.call(column.buffer)).toBe('[object SharedArrayBuffer]')
    }
    expect([runs.count, runs.startPage.length, runs.pageCount.length]).toEqual([2, 2, 2])
  })
})

describe('merging runs', () => {
  it('gives the runs of all pages of both, whichever comes first', () => {
    fc.assert(
      fc.property(pieces, (list) => {
        const pagesOf = (which: boolean): number[] =>
          pagesOfRuns(list.filter(({ second }) => second === which).map(({ run }) => run))
        const [a, b] = [false, true].map((which) => collected(runsOfPages(pagesOf(which))))
        const all = runsOfPages(pagesOfRuns(list.map(({ run }) => run)))
        expect(listRuns(mergeRuns(a ?? NO_RUNS, b ?? NO_RUNS))).toEqual(all)
        expect(listRuns(mergeRuns(b ?? NO_RUNS, a ?? NO_RUNS))).toEqual(all)
      }),
    )
  })

  it('of none and none is none', () => {
    expect(listRuns(mergeRuns(NO_RUNS, NO_RUNS))).toEqual([])
  })
})

describe('the pages of runs', () => {
  it('are counted, beyond 2^32 as well', () => {
    fc.assert(
      fc.property(pieces, (list) => {
        const runs = list.map(({ run }) => run)
        expect(countPages(collected(runs))).toBe(pagesOfRuns(runs).length)
      }),
    )
    expect(
      countPages(
        collected([
          [0, 2 ** 40],
          [2 ** 41, 2 ** 40],
        ]),
      ),
    ).toBe(2 ** 41)
    expect(countPages(NO_RUNS)).toBe(0)
  })
})
