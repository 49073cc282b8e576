/**
 * The plan of a dump: which pages go where in pages-N.img, as a value.
 *
 *   present    0 1 1 1 0 0 1 | 1 1 0 1 1 ...    slots in address order; | is a shard, chunk or VMA border
 *   holes      0 0 0 0 0 0 0 | 0 0 0 1 1 ...    pages whose content is in the parent images
 *   pages        [  run 0  ]   [run 1 ] [hole]  consecutive page numbers with one fate
 *   offsets      0             3                in pages, by prefix sum over what is stored
 *   pages-1.img  |p p p|p p p|                  raw pages, run after run
 *
 * A run never depends on how the work was cut: borders vanish here, so the images are the same bytes for
 * every number of workers and every shard size.
 */
import { bitmapRuns, forEachSpan, WORD_SLOTS } from './bitmap.js'
import { CHUNK_PAGES, type ChunkDirectory } from './chunks.js'
import { movesTogether, type PageMoves } from './page-moves.js'
import { mergeRuns, pieceAt, RunList, sumPages, type PageRuns } from './page-runs.js'

/** Ordered runs of pages to store, and those to leave to the parent. Columns in shared memory: workers read them without a copy. */
export interface DumpPlan {
  /** Number of runs. */
  readonly runCount: number
  /** First page number of each run, ascending. Length `runCount`. */
  readonly startPage: Float64Array
  /** Where each run begins in pages-N.img, in pages; entry `runCount` is the total. Length `runCount + 1`. */
  readonly offsetPages: Float64Array
  /** Runs whose content is in the parent images; no page of them is in a run to store. */
  readonly holes: PageRuns
}

/** Pages in the whole plan. */
export function planPages(plan: DumpPlan): number {
  return plan.offsetPages[plan.runCount] ?? 0
}

/** The runs to store. */
export function storedRuns({ runCount, startPage, offsetPages }: DumpPlan): PageRuns {
  const pageCount = new Float64Array(runCount)
  for (let run = 0; run < runCount; run++)
    pageCount[run] = (offsetPages[run + 1] ?? 0) - (offsetPages[run] ?? 0)
  return { count: runCount, startPage, pageCount }
}

/**
 * The plan for the pages whose bit is set in `present`, in address order.
 *
 * @param chunks - which page each slot stands for; slots ascend with page numbers
 * @param present - one bit a slot, see core/bitmap
 * @param holes - the pages of these that are left to the parent; none where it is left out
 */
export function planDump(chunks: ChunkDirectory, present: Int32Array, holes?: Int32Array): DumpPlan {
  const stored = new RunList()
  const left = new RunList()
  const words = CHUNK_PAGES / WORD_SLOTS
  const rest = new Int32Array(words)
  for (let index = 0; index < chunks.count; index++) {
    const firstPage = (chunks.numbers[index] ?? 0) * CHUNK_PAGES
    const firstWord = index * words
    if (holes === undefined) {
      bitmapRuns(present, firstWord, words, (first, length) => {
        stored.add(firstPage + first, length)
      })
      continue
    }
    for (let word = 0; word < words; word++)
      rest[word] = (present[firstWord + word] ?? 0) & ~(holes[firstWord + word] ?? 0)
    bitmapRuns(rest, 0, words, (first, length) => {
      stored.add(firstPage + first, length)
    })
    bitmapRuns(holes, firstWord, words, (first, length) => {
      left.add(firstPage + first, length)
    })
  }
  return planOfRuns(stored.toRuns(), left.toRuns())
}

/** The plan that stores `stored` and leaves `holes` to the parent. */
export function planOfRuns(stored: PageRuns, holes: PageRuns): DumpPlan {
  return { runCount: stored.count, startPage: stored.startPage, offsetPages: sumPages(stored), holes }
}

/**
 * The plan that is left when only some of the planned pages are to be stored after all.
 *
 * @param same - a bit for each page, by its place in the file: left to the parent
 * @param dropped - the same for pages that are gone: in neither list
 */
export function refinePlan(
  plan: DumpPlan,
  same: Int32Array,
  dropped: Int32Array,
): { readonly plan: DumpPlan; readonly moves: PageMoves } {
  const stored = new RunList()
  const left = new RunList()
  const moves = new RunList()
  for (let run = 0; run < plan.runCount; run++) {
    const page = plan.startPage[run] ?? 0
    const from = plan.offsetPages[run] ?? 0
    const to = plan.offsetPages[run + 1] ?? 0
    forEachSpan(dropped, from, to, (first, last, isDropped) => {
      if (isDropped) return
      forEachSpan(same, first, last, (start, end, isSame) => {
        if (isSame) left.add(page + start - from, end - start)
        else {
          stored.add(page + start - from, end - start)
          moves.add(start, end - start)
        }
      })
    })
  }
  const refined = planOfRuns(stored.toRuns(), mergeRuns(plan.holes, left.toRuns()))
  return { plan: refined, moves: movesTogether(moves.toRuns()) }
}

/** Index of the run that holds file page `offset`; `offset` is below {@link planPages}. */
export function runAtOffset(plan: DumpPlan, offset: number): number {
  return pieceAt(plan.offsetPages, plan.runCount, offset)
}

/** Index of the run that holds `page`, or -1 where the plan does not store it. */
export function runOfPage(plan: DumpPlan, page: number): number {
  let low = 0
  let high = plan.runCount
  while (low < high) {
    const middle = Math.floor((low + high) / 2)
    if ((plan.startPage[middle] ?? 0) <= page) low = middle + 1
    else high = middle
  }
  const run = low - 1
  if (run < 0) return -1
  const length = (plan.offsetPages[run + 1] ?? 0) - (plan.offsetPages[run] ?? 0)
  return page < (plan.startPage[run] ?? 0) + length ? run : -1
}
