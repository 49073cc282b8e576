/**
 * The plan of a dump: which pages go where in pages-N.img, as a value.
 *
 *   bitmap     0 1 1 1 0 0 1 | 1 1 0 ...        slots in address order; | is a shard, chunk or VMA border
 *   pages        [  run 0  ]   [run 1 ]         consecutive page numbers with one fate
 *   offsets      0             3                in pages, by prefix sum
 *   pages-1.img  |p p p|p p p|                  raw pages, run after run
 *
 * A run never depends on how the work was cut: borders vanish here, so the images are the same bytes for
 * every number of workers and every shard size.
 */
import { bitmapRuns } from './bitmap.js'
import { CHUNK_PAGES, type ChunkDirectory } from './chunks.js'

/** Ordered runs of pages to store. Columns in shared memory: workers read them without a copy. */
export interface DumpPlan {
  /** Number of runs. */
  readonly runCount: number
  /** First page number of each run, ascending. Length `runCount`. */
  readonly startPage: Float64Array
  /** Where each run begins in pages-N.img, in pages; entry `runCount` is the total. Length `runCount + 1`. */
  readonly offsetPages: Float64Array
}

/** Pages in the whole plan. */
export function planPages(plan: DumpPlan): number {
  return plan.offsetPages[plan.runCount] ?? 0
}

/**
 * The runs of the pages whose bit is set in `present`, in address order.
 *
 * @param chunks - which page each slot stands for; slots ascend with page numbers
 * @param present - one bit a slot, see core/bitmap
 */
export function planDump(chunks: ChunkDirectory, present: Int32Array): DumpPlan {
  const runs = new RunList()
  const wordsPerChunk = CHUNK_PAGES / 32
  for (let index = 0; index < chunks.count; index++) {
    const firstPage = (chunks.numbers[index] ?? 0) * CHUNK_PAGES
    bitmapRuns(present, index * wordsPerChunk, wordsPerChunk, (first, length) => {
      runs.add(firstPage + first, length)
    })
  }
  return runs.toPlan()
}

/** Index of the run that holds file page `offset`; `offset` is below {@link planPages}. */
export function runAtOffset(plan: DumpPlan, offset: number): number {
  let low = 0
  let high = plan.runCount
  while (low < high) {
    const middle = Math.floor((low + high) / 2)
    if ((plan.offsetPages[middle + 1] ?? 0) <= offset) low = middle + 1
    else high = middle
  }
  return low
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

/** Collects runs, merging neighbours, in columns that grow by doubling. */
class RunList {
  #start = new Float64Array(1024)
  #length = new Float64Array(1024)
  #count = 0

  add(page: number, length: number): void {
    const last = this.#count - 1
    if (last >= 0 && (this.#start[last] ?? 0) + (this.#length[last] ?? 0) === page) {
      this.#length[last] = (this.#length[last] ?? 0) + length
      return
    }
    if (this.#count === this.#start.length) this.#grow()
    this.#start[this.#count] = page
    this.#length[this.#count] = length
    this.#count++
  }

  toPlan(): DumpPlan {
    const startPage = new Float64Array(new SharedArrayBuffer(8 * this.#count))
    const offsetPages = new Float64Array(new SharedArrayBuffer(8 * (this.#count + 1)))
    startPage.set(this.#start.subarray(0, this.#count))
    let offset = 0
    for (let run = 0; run < this.#count; run++) {
      offsetPages[run] = offset
      offset += this.#length[run] ?? 0
    }
    offsetPages[this.#count] = offset
    return { runCount: this.#count, startPage, offsetPages }
  }

  #grow(): void {
    const start = new Float64Array(this.#start.length * 2)
    const length = new Float64Array(this.#start.length * 2)
    start.set(this.#start)
    length.set(this.#length)
    this.#start = start
    this.#length = length
  }
}
