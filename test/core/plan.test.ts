import { describe, expect, it } from '@jest/globals'
import fc from 'fast-check'
import { allocateBitmap, setBits } from '../../src/core/bitmap.js'
import { CHUNK_PAGES, chunkDirectory, slotCount, slotOfPage } from '../../src/core/chunks.js'
import { planDump, planPages, runAtOffset, runOfPage, type DumpPlan } from '../../src/core/plan.js'
import { listPlan, pagesOfRuns, runsOfPages, type Run } from './builders.js'

/** The plan of `pages`, whose chunks (and those of `empty`) have slots. */
function planOf(pages: Iterable<number>, empty: readonly number[] = []): DumpPlan {
  const list = [...pages]
  const chunks = chunkDirectory([...list.map((page) => Math.floor(page / CHUNK_PAGES)), ...empty])
  const present = allocateBitmap(slotCount(chunks))
  for (const page of list) {
    const slot = slotOfPage(chunks, page)
    setBits(present, slot, slot + 1)
  }
  return planDump(chunks, present)
}

/** First chunks of small address spaces: at the beginning, at 2^32 pages, at the very end. */
const base = fc.constantFrom(0, 2 ** 32 / CHUNK_PAGES - 2, 2 ** 52 / CHUNK_PAGES - 5)

/** Runs of pages of five chunks, many on and across the borders of words and chunks. */
const runLists = fc.array(
  fc.tuple(
    fc.oneof(
      fc.nat({ max: 5 * CHUNK_PAGES - 1 }),
      fc
        .tuple(fc.nat({ max: 5 }), fc.integer({ min: -40, max: 40 }))
        .map(([chunk, offset]) => Math.min(5 * CHUNK_PAGES - 1, Math.max(0, chunk * CHUNK_PAGES + offset))),
      fc.nat({ max: 639 }).map((word) => word * 32),
    ),
    fc.oneof(
      fc.constantFrom(1, 31, 32, 33),
      fc.integer({ min: 1, max: 70 }),
      fc.integer({ min: 1, max: 70 }),
    ),
  ),
  { maxLength: 14 },
)

const spaces = fc.tuple(base, runLists).map(([firstChunk, runs]) => {
  const pages = new Set<number>()
  for (const [start, length] of runs) {
    for (let page = start; page < Math.min(start + length, 5 * CHUNK_PAGES); page++) {
      pages.add(firstChunk * CHUNK_PAGES + page)
    }
  }
  return { firstChunk, pages: [...pages].sort((a, b) => a - b) }
})

describe('the plan of a dump', () => {
  it('has the runs and offsets of the drawing at the head of its file', () => {
    //   bitmap   0 1 1 1 0 0 1 | 1 1 0     slots 0 to 4095 | 4096 to 8191: two chunks that touch
    const chunks = chunkDirectory([3, 4])
    const present = allocateBitmap(slotCount(chunks))
    setBits(present, 4096 - 6, 4096 - 3)
    setBits(present, 4096 - 1, 4096)
    setBits(present, 4096, 4096 + 2)
    const plan = planDump(chunks, present)
    expect([...plan.startPage]).toEqual([4 * 4096 - 6, 4 * 4096 - 1])
    expect([...plan.offsetPages]).toEqual([0, 3, 6])
    expect([plan.runCount, planPages(plan)]).toEqual([2, 6])
  })

  it('is that of a walk over the pages one at a time', () => {
    fc.assert(
      fc.property(spaces, ({ firstChunk, pages }) => {
        const { runs, offsets } = listPlan(planOf(pages, [firstChunk, firstChunk + 4]))
        const expected = runsOfPages(pages)
        expect(runs).toEqual(expected)
        expect(offsets).toEqual([0, ...expected.map((_, run) => sumOfLengths(expected, run))])
      }),
      { numRuns: 200 },
    )
  })

  it('does not depend on which empty chunks have slots', () => {
    fc.assert(
      fc.property(spaces, fc.subarray([0, 1, 2, 3, 4]), ({ firstChunk, pages }, empty) => {
        const more = empty.map((chunk) => firstChunk + chunk)
        expect(listPlan(planOf(pages, more))).toEqual(listPlan(planOf(pages)))
      }),
      { numRuns: 50 },
    )
  })

  it('is empty where no page is present, and where there are no slots', () => {
    for (const plan of [planOf([]), planOf([], [0, 1, 2 ** 40 - 1])]) {
      expect(listPlan(plan)).toEqual({ runs: [], offsets: [0] })
      expect(planPages(plan)).toBe(0)
      expect(runOfPage(plan, 0)).toBe(-1)
    }
  })

  it('does not join chunks that only touch in the bitmap', () => {
    const plan = planOf([CHUNK_PAGES - 1, 2 * CHUNK_PAGES, 2 ** 40 * CHUNK_PAGES - 1])
    expect(listPlan(plan).runs).toEqual([
      [CHUNK_PAGES - 1, 1],
      [2 * CHUNK_PAGES, 1],
      [2 ** 52 - 1, 1],
    ])
  })

  it('makes one run of chunks that are full and touch', () => {
    const chunks = chunkDirectory([5, 6, 7, 9])
    const present = allocateBitmap(slotCount(chunks)).fill(-1)
    expect(listPlan(planDump(chunks, present)).runs).toEqual([
      [5 * CHUNK_PAGES, 3 * CHUNK_PAGES],
      [9 * CHUNK_PAGES, CHUNK_PAGES],
    ])
  })

  it('holds more runs than it had room for at first', () => {
    const chunks = chunkDirectory([2, 3])
    const present = allocateBitmap(slotCount(chunks)).fill(0x55555555)
    const pages = Array.from({ length: CHUNK_PAGES }, (_, index) => 2 * CHUNK_PAGES + 2 * index)
    expect(listPlan(planDump(chunks, present)).runs).toEqual(runsOfPages(pages))
  })

  it('lies in shared memory', () => {
    const { startPage, offsetPages } = planOf([1])
    for (const { buffer } of [startPage, offsetPages]) {
      expect(Object.prototype.toString.call(buffer)).toBe('[object SharedArrayBuffer]')
    }
  })
})

describe('looking into a plan', () => {
  it('finds the run of every file page, and of every page that is or is not stored', () => {
    fc.assert(
      fc.property(spaces, ({ pages }) => {
        const plan = planOf(pages)
        const runs = runsOfPages(pages)
        const runOf = new Map(runs.flatMap((run, index) => pagesOfRuns([run]).map((page) => [page, index])))
        expect(pages.filter((page, offset) => runAtOffset(plan, offset) !== runOf.get(page))).toEqual([])
        const asked = pages.flatMap((page) => [page - 1, page, page + 1])
        expect(asked.filter((page) => runOfPage(plan, page) !== (runOf.get(page) ?? -1))).toEqual([])
      }),
    )
  })
})

function sumOfLengths(runs: readonly Run[], last: number): number {
  return runs.slice(0, last + 1).reduce((sum, [, length]) => sum + length, 0)
}
