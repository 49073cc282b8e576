/**
 * Parts of a plan: what is captured in different ways, each part with offsets of its own.
 *
 *   plan        |a a a|b|a a|b b b|        offsets are places in the file
 *   part a      |a a a|a a|                places 0, 4
 *   part b      |b|b b b|                  places 3, 6
 */
import { movesApart, noMoves, type PageMoves } from './page-moves.js'
import { NO_RUNS, RunList, type PageRuns } from './page-runs.js'
import { planOfRuns, planPages, type DumpPlan } from './plan.js'

/** Some pages of a plan, with their place in the file. */
export interface PlanPart {
  /** Its offsets count the pages of this part alone. */
  readonly plan: DumpPlan
  /** From those offsets to the places in the file. */
  readonly places: PageMoves
}

/** All of `plan` as one part. */
export function wholePlan(plan: DumpPlan): PlanPart {
  return { plan, places: noMoves(planPages(plan)) }
}

/**
 * The pages of `plan` that lie in `ranges`, and those that do not.
 *
 * @param ranges - ascending, without overlap
 */
export function splitPlan(
  plan: DumpPlan,
  ranges: PageRuns,
): { readonly inside: PlanPart; readonly outside: PlanPart } {
  const inside = new PartList()
  const outside = new PartList()
  let range = 0
  for (let run = 0; run < plan.runCount; run++) {
    const first = plan.startPage[run] ?? 0
    const offset = plan.offsetPages[run] ?? 0
    const end = first + (plan.offsetPages[run + 1] ?? 0) - offset
    for (let page = first; page < end;) {
      while (range < ranges.count && endOf(ranges, range) <= page) range++
      const start = ranges.startPage[range] ?? Infinity
      const isInside = start <= page
      const stop = Math.min(end, isInside ? endOf(ranges, range) : start)
      const part = isInside ? inside : outside
      part.add(page, offset + page - first, stop - page)
      page = stop
    }
  }
  return { inside: inside.toPart(), outside: outside.toPart() }
}

function endOf(runs: PageRuns, run: number): number {
  return (runs.startPage[run] ?? 0) + (runs.pageCount[run] ?? 0)
}

/** Collects the pages of one part in ascending order. */
class PartList {
  readonly #pages = new RunList()
  readonly #places = new RunList()

  add(page: number, place: number, pages: number): void {
    this.#pages.add(page, pages)
    this.#places.add(place, pages)
  }

  toPart(): PlanPart {
    return { plan: planOfRuns(this.#pages.toRuns(), NO_RUNS), places: movesApart(this.#places.toRuns()) }
  }
}
