/**
 * Moves of consecutive pages from one place to another: what lies where, and where it goes in the pages file.
 *
 *   from     |a b|   |c|  |d e f|      places in staging memory, or in another plan
 *   to       |a b c|       |d e f|     places in the file
 *   moves     2    1         3         consecutive in both
 */
import { pieceAt, RunList, sumPages, type PageRuns } from './page-runs.js'

/** Moves, ascending on both sides. Columns in shared memory. */
export interface PageMoves {
  readonly count: number
  readonly fromPage: Float64Array
  readonly toPage: Float64Array
  /** Pages that the moves before each one move; entry `count` is the total. Length `count + 1`. */
  readonly beforePages: Float64Array
}

/** Index of the move that moves page `page` of all that are moved; `page` is below their number. */
export function moveAt(moves: PageMoves, page: number): number {
  return pieceAt(moves.beforePages, moves.count, page)
}

/** Brings the pages at the places `from` together, one after the other. */
export function movesTogether(from: PageRuns): PageMoves {
  const beforePages = sumPages(from)
  return { count: from.count, fromPage: from.startPage, toPage: beforePages, beforePages }
}

/** Spreads pages that lie one after the other over the places `to`. */
export function movesApart(to: PageRuns): PageMoves {
  const beforePages = sumPages(to)
  return { count: to.count, fromPage: beforePages, toPage: to.startPage, beforePages }
}

/** Leaves `pages` pages where they are. */
export function noMoves(pages: number): PageMoves {
  const list = new RunList()
  if (pages > 0) list.add(0, pages)
  return movesTogether(list.toRuns())
}
