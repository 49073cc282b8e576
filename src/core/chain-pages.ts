/**
 * Where each page of a snapshot really lies: in its own pages file, or in that of one of its parents.
 *
 *   link 2 (first dump)    |aaaa|    |bb|           present
 *   link 1                 |h|cc|h|  |hh|           h: hole, in the direct parent
 *   link 0 (the snapshot)  |h|h |dd| |h|
 *   located                |2|1 |0 | |2|            by link, with the page's place in that link's pages file
 */

/** A pagemap's rows, as far as finding pages goes. Ascending, without overlap. */
export interface LinkRows {
  readonly count: number
  readonly startPage: Float64Array
  readonly pageCount: Float64Array
  /** For each row: its pages are in this link's file, in the parent's pagemap, or (damaged) in neither. */
  readonly place: (row: number) => 'present' | 'parent' | 'neither'
}

/** Runs of pages and where their content lies, ascending. Columns in shared memory. */
export interface LocatedPages {
  readonly count: number
  readonly startPage: Float64Array
  readonly pageCount: Float64Array
  /** Index of the link, 0 for the snapshot itself. */
  readonly link: Uint16Array
  /** Place of the run's first page in that link's pages file, in pages. */
  readonly filePage: Float64Array
}

/** Pages that a link leaves to its parent and that the parent does not list. */
export interface LostPages {
  readonly link: number
  readonly startPage: number
  readonly pages: number
}

/**
 * Locates every page of `links[0]`.
 *
 * @param links - the snapshot, its parent, that one's parent and so on
 */
export function locatePages(links: readonly LinkRows[]): {
  readonly located: LocatedPages
  readonly lost: readonly LostPages[]
} {
  const lost: LostPages[] = []
  let located = new LocatedList().toColumns()
  for (let index = links.length - 1; index >= 0; index--) {
    const rows = links[index]
    if (rows !== undefined) located = locateLink(rows, index, located, lost)
  }
  return { located, lost }
}

function locateLink(rows: LinkRows, link: number, parent: LocatedPages, lost: LostPages[]): LocatedPages {
  const found = new LocatedList()
  let filePage = 0
  for (let row = 0; row < rows.count; row++) {
    const start = rows.startPage[row] ?? 0
    const pages = rows.pageCount[row] ?? 0
    const place = rows.place(row)
    if (place === 'present') {
      found.add(start, pages, link, filePage)
      filePage += pages
    } else if (place === 'parent') copyFromParent(start, start + pages, parent, link, found, lost)
    else lost.push({ link, startPage: start, pages })
  }
  return found.toColumns()
}

/** Takes over the parent's places of pages [`start`, `end`). */
function copyFromParent(
  start: number,
  end: number,
  parent: LocatedPages,
  link: number,
  found: LocatedList,
  lost: LostPages[],
): void {
  let at = start
  for (let row = rowAt(parent, start); at < end && row < parent.count; row++) {
    const first = parent.startPage[row] ?? 0
    if (first >= end) break
    if (first > at) lost.push({ link, startPage: at, pages: first - at })
    at = Math.max(at, first)
    const stop = Math.min(end, first + (parent.pageCount[row] ?? 0))
    found.add(at, stop - at, parent.link[row] ?? 0, (parent.filePage[row] ?? 0) + at - first)
    at = stop
  }
  if (at < end) lost.push({ link, startPage: at, pages: end - at })
}

/** Index of the first row that ends after `page`. */
export function rowAt(located: LocatedPages, page: number): number {
  let low = 0
  let high = located.count
  while (low < high) {
    const middle = Math.floor((low + high) / 2)
    if ((located.startPage[middle] ?? 0) + (located.pageCount[middle] ?? 0) <= page) low = middle + 1
    else high = middle
  }
  return low
}

/** Collects located runs in ascending order. */
class LocatedList {
  readonly #start: number[] = []
  readonly #pages: number[] = []
  readonly #link: number[] = []
  readonly #file: number[] = []

  add(start: number, pages: number, link: number, filePage: number): void {
    const last = this.#start.length - 1
    const length = this.#pages[last] ?? 0
    const continues =
      last >= 0 &&
      this.#link[last] === link &&
      (this.#start[last] ?? 0) + length === start &&
      (this.#file[last] ?? 0) + length === filePage
    if (continues) {
      this.#pages[last] = length + pages
      return
    }
    this.#start.push(start)
    this.#pages.push(pages)
    this.#link.push(link)
    this.#file.push(filePage)
  }

  toColumns(): LocatedPages {
    const count = this.#start.length
    const column = (values: readonly number[]): Float64Array => {
      const shared = new Float64Array(new SharedArrayBuffer(8 * count))
      shared.set(values)
      return shared
    }
    const link = new Uint16Array(new SharedArrayBuffer(2 * count))
    link.set(this.#link)
    return {
      count,
      startPage: column(this.#start),
      pageCount: column(this.#pages),
      link,
      filePage: column(this.#file),
    }
  }
}
