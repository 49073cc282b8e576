import { describe, expect, it } from '@jest/globals'
import fc from 'fast-check'
import { allocateBitmap, setBits } from '../../src/core/bitmap.js'
import {
  CHUNK_PAGES,
  chunkDirectory,
  slotCount,
  slotOfPage,
  type ChunkDirectory,
} from '../../src/core/chunks.js'
import { noMoves, type PageMoves } from '../../src/core/page-moves.js'
import {
  planDump,
  planPages,
  refinePlan,
  runAtOffset,
  runOfPage,
  type DumpPlan,
} from '../../src/core/plan.js'
import { listPlan, listRuns, pagesOfRuns, planOfRuns, runsOf, runsOfPages, type Run } from './builders.js'

/** The plan of `pages`, whose chunks (and those of `empty`) have slots; `holes` of them are left to the parent. */
function planOf(pages: Iterable<number>, empty: readonly number[] = [], holes?: readonly number[]): DumpPlan {
  const list = [...pages]
  const chunks = chunkDirectory([...list.map((page) => Math.floor(page / CHUNK_PAGES)), ...empty])
  return planDump(chunks, bitsOf(chunks, list), holes === undefined ? undefined : bitsOf(chunks, holes))
}

function bitsOf(chunks: ChunkDirectory, pages: Iterable<number>): Int32Array {
  const bits = allocateBitmap(slotCount(chunks))
  for (const page of pages) {
    const slot = slotOfPage(chunks, page)
    setBits(bits, slot, slot + 1)
  }
  return bits
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

/** Address spaces of which some runs are left to the parent: `holes` are among `pages`. */
const spacesWithHoles = fc.tuple(base, runLists, runLists).map(([firstChunk, runs, left]) => {
  const expand = (list: readonly Run[]): number[] =>
    pagesOfRuns(list)
      .filter((page) => page < 5 * CHUNK_PAGES)
      .map((page) => firstChunk * CHUNK_PAGES + page)
  const present = new Set(expand(runs))
  const holes = new Set(expand(left).filter((page) => present.has(page)))
  const ascending = (pages: Set<number>): number[] => [...pages].sort((a, b) => a - b)
  return { firstChunk, pages: ascending(present), holes: ascending(holes) }
})

describe('a plan with holes', () => {
  it('stores what is present and no hole, and lists the holes, as a walk over the pages does', () => {
    fc.assert(
      fc.property(spacesWithHoles, ({ firstChunk, pages, holes }) => {
        const plan = planOf(pages, [firstChunk, firstChunk + 4], holes)
        const left = new Set(holes)
        const stored = runsOfPages(pages.filter((page) => !left.has(page)))
        expect(listPlan(plan).runs).toEqual(stored)
        expect(listPlan(plan).offsets).toEqual([0, ...stored.map((_, run) => sumOfLengths(stored, run))])
        expect(listRuns(plan.holes)).toEqual(runsOfPages(holes))
      }),
      { numRuns: 200 },
    )
  })

  it('ends a run at a hole in its middle, and joins its offsets over it', () => {
    const plan = planOf([8, 9, 10, 11, 12], [], [10])
    expect(listPlan(plan)).toEqual({
      runs: [
        [8, 2],
        [11, 2],
      ],
      offsets: [0, 2, 4],
    })
    expect(listRuns(plan.holes)).toEqual([[10, 1]])
  })

  it('stores nothing where all is left to the parent', () => {
    const pages = [CHUNK_PAGES - 1, CHUNK_PAGES, 9 * CHUNK_PAGES]
    const plan = planOf(pages, [], pages)
    expect([plan.runCount, planPages(plan)]).toEqual([0, 0])
    expect(listRuns(plan.holes)).toEqual([
      [CHUNK_PAGES - 1, 2],
      [9 * CHUNK_PAGES, 1],
    ])
  })

  it('is that without holes where the bitmap of holes is clear', () => {
    expect(planOf([1, 2, 4], [], [])).toEqual(planOf([1, 2, 4]))
  })
})

/** What became of each page of a plan. */
const verdicts = fc.constantFrom('stored', 'stored', 'same', 'dropped', 'same and dropped')

/** A small plan with holes, and a verdict on each stored page. */
const refinements = fc
  .array(fc.tuple(fc.nat({ max: 3 }), fc.integer({ min: 1, max: 70 }), fc.boolean()), { maxLength: 12 })
  .chain((pieces) => {
    const stored: number[] = []
    const holes: number[] = []
    let at = 2 ** 33
    for (const [gap, pages, hole] of pieces) {
      for (let page = at + gap; page < at + gap + pages; page++) (hole ? holes : stored).push(page)
      at += gap + pages
    }
    return fc.record({
      stored: fc.constant(stored),
      holes: fc.constant(holes),
      fates: fc.oneof(
        fc.array(verdicts, { minLength: stored.length, maxLength: stored.length }),
        verdicts.map((fate) => stored.map(() => fate)),
        fc
          .array(verdicts, { minLength: 9, maxLength: 9 })
          .map((list) => stored.map((_, place) => list[Math.floor(place / 40) % 9] ?? 'stored')),
      ),
    })
  })

/** For each page of the second file, its place in the first. */
function placesOf(moves: PageMoves): number[] {
  const places: number[] = []
  for (let move = 0; move < moves.count; move++) {
    const pages = (moves.toPage[move + 1] ?? NaN) - (moves.toPage[move] ?? NaN)
    for (let index = 0; index < pages; index++) places.push((moves.fromPage[move] ?? NaN) + index)
  }
  return places
}

describe('refining a plan', () => {
  it('leaves same pages to the parent, forgets dropped ones and moves the rest, as page by page', () => {
    fc.assert(
      fc.property(refinements, ({ stored, holes, fates }) => {
        const plan = { ...planOfRuns(runsOfPages(stored)), holes: runsOf(runsOfPages(holes)) }
        const same = allocateBitmap(stored.length)
        const dropped = allocateBitmap(stored.length)
        for (const [place, fate] of fates.entries()) {
          if (fate.includes('same')) setBits(same, place, place + 1)
          if (fate.includes('dropped')) setBits(dropped, place, place + 1)
        }
        const refined = refinePlan(plan, same, dropped)
        const kept = stored.filter((_, place) => fates[place] === 'stored')
        const left = stored.filter((_, place) => fates[place] === 'same')
        expect(listPlan(refined.plan).runs).toEqual(runsOfPages(kept))
        expect(planPages(refined.plan)).toBe(kept.length)
        expect(listRuns(refined.plan.holes)).toEqual(runsOfPages([...holes, ...left].sort((a, b) => a - b)))
        expect(placesOf(refined.moves)).toEqual(
          fates.flatMap((fate, place) => (fate === 'stored' ? [place] : [])),
        )
      }),
      { numRuns: 300 },
    )
  })

  it('moves pages of neighbouring runs that stay together in one go', () => {
    const plan = planOfRuns([
      [10, 3],
      [20, 3],
    ])
    const same = allocateBitmap(6)
    setBits(same, 1, 2)
    const { plan: refined, moves } = refinePlan(plan, same, allocateBitmap(6))
    expect(listPlan(refined).runs).toEqual([
      [10, 1],
      [12, 1],
      [20, 3],
    ])
    expect([[...moves.fromPage], [...moves.toPage]]).toEqual([
      [0, 2],
      [0, 1, 5],
    ])
  })

  it('changes nothing where no bit is set: the moves are none', () => {
    const plan = planOfRuns([
      [10, 3],
      [20, 40],
    ])
    const refined = refinePlan(plan, allocateBitmap(43), allocateBitmap(43))
    expect(listPlan(refined.plan)).toEqual(listPlan(plan))
    expect(listRuns(refined.plan.holes)).toEqual([])
    expect(refined.moves).toEqual(noMoves(43))
  })
})

describe('the moves of pages that stay', () => {
  it('are one that leads to where it came from, or none for no page', () => {
    expect(placesOf(noMoves(5))).toEqual([0, 1, 2, 3, 4])
    expect([noMoves(5).count, noMoves(2 ** 40).toPage[1]]).toEqual([1, 2 ** 40])
    expect([noMoves(0).count, [...noMoves(0).toPage]]).toEqual([0, [0]])
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
