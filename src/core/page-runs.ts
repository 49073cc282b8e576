/** Ordered runs of consecutive pages, as columns in shared memory. */

/** Runs in ascending order, without overlap, no two adjacent. */
export interface PageRuns {
  readonly count: number
  readonly startPage: Float64Array
  readonly pageCount: Float64Array
}

/** No run. */
export const NO_RUNS: PageRuns = {
  count: 0,
  startPage: new Float64Array(new SharedArrayBuffer(0)),
  pageCount: new Float64Array(new SharedArrayBuffer(0)),
}

/** Pages in all of `runs`. */
export function countPages(runs: PageRuns): number {
  let pages = 0
  for (let run = 0; run < runs.count; run++) pages += runs.pageCount[run] ?? 0
  return pages
}

/** Pages before each run; the last entry, one more than there are runs, is the total. Shared memory. */
export function sumPages(runs: PageRuns): Float64Array {
  const sums = new Float64Array(new SharedArrayBuffer(8 * (runs.count + 1)))
  let pages = 0
  for (let run = 0; run < runs.count; run++) {
    sums[run] = pages
    pages += runs.pageCount[run] ?? 0
  }
  sums[runs.count] = pages
  return sums
}

/** Index of the first of `count` pieces that ends beyond `offset`; `sums[i + 1]` is where piece i ends. */
export function pieceAt(sums: Float64Array, count: number, offset: number): number {
  let low = 0
  let high = count
  while (low < high) {
    const middle = Math.floor((low + high) / 2)
    if ((sums[middle + 1] ?? 0) <= offset) low = middle + 1
    else high = middle
  }
  return low
}

/** Pages from `start` up to, not including, `end` that are in `runs`. */
export function pagesWithin(runs: PageRuns, start: number, end: number): number {
  let low = 0
  let high = runs.count
  while (low < high) {
    const middle = Math.floor((low + high) / 2)
    if ((runs.startPage[middle] ?? 0) + (runs.pageCount[middle] ?? 0) <= start) low = middle + 1
    else high = middle
  }
  let pages = 0
  for (let run = low; run < runs.count; run++) {
    const first = runs.startPage[run] ?? 0
    if (first >= end) break
    pages += Math.min(end, first + (runs.pageCount[run] ?? 0)) - Math.max(start, first)
  }
  return pages
}

/** The runs of two disjoint lists, in order; neighbours become one. */
export function mergeRuns(a: PageRuns, b: PageRuns): PageRuns {
  if (a.count === 0) return b
  if (b.count === 0) return a
  const merged = new RunList()
  for (let i = 0, j = 0; i < a.count || j < b.count;) {
    const first = (a.startPage[i] ?? Infinity) < (b.startPage[j] ?? Infinity)
    if (first) merged.add(a.startPage[i] ?? 0, a.pageCount[i++] ?? 0)
    else merged.add(b.startPage[j] ?? 0, b.pageCount[j++] ?? 0)
  }
  return merged.toRuns()
}

/** Collects runs in ascending order, merging neighbours, in columns that grow by doubling. */
export class RunList {
  #start = new Float64Array(1024)
  #length = new Float64Array(1024)
  #count = 0

  /** Appends `length` pages from `page` on. */
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

  /** What was collected. */
  toRuns(): PageRuns {
    const startPage = new Float64Array(new SharedArrayBuffer(8 * this.#count))
    const pageCount = new Float64Array(new SharedArrayBuffer(8 * this.#count))
    startPage.set(this.#start.subarray(0, this.#count))
    pageCount.set(this.#length.subarray(0, this.#count))
    return { count: this.#count, startPage, pageCount }
  }

  #grow(): void {
    const start = new Float64Array(this.#start.length * 2)
    const length = new Float64Array(this.#length.length * 2)
    start.set(this.#start)
    length.set(this.#length)
    this.#start = start
    this.#length = length
  }
}
