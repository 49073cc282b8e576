import { describe, expect, it } from '@jest/globals'
import fc from 'fast-check'
import { moveAt } from '../../src/core/page-moves.js'
import { RunList } from '../../src/core/page-runs.js'
import { splitPlan, wholePlan, type PlanPart } from '../../src/core/plan-parts.js'
import { planOfRuns, runAtOffset } from '../../src/core/plan.js'
import { NO_RUNS } from '../../src/core/page-runs.js'

const SPAN = 300

/** Runs of `pages`, which ascend. */
function runsOf(pages: readonly number[]) {
  const list = new RunList()
  for (const page of pages) list.add(page, 1)
  return list.toRuns()
}

/** Page and place in the file of each page of a part, one by one. */
function slowPages({ plan, places }: PlanPart): [page: number, place: number][] {
  const total = plan.offsetPages[plan.runCount] ?? 0
  return Array.from({ length: total }, (_, offset) => {
    const run = runAtOffset(plan, offset)
    const move = moveAt(places, offset)
    const place = (places.toPage[move] ?? NaN) + offset - (places.beforePages[move] ?? NaN)
    return [(plan.startPage[run] ?? NaN) + offset - (plan.offsetPages[run] ?? NaN), place]
  })
}

const somePages = fc
  .uniqueArray(fc.nat(SPAN), { maxLength: SPAN })
  .map((pages) => pages.sort((a, b) => a - b))

describe('parts of a plan', () => {
  it('have every page once, at its place in the file, inside or outside the ranges', () => {
    fc.assert(
      fc.property(somePages, somePages, (pages, ranges) => {
        const { inside, outside } = splitPlan(planOfRuns(runsOf(pages), NO_RUNS), runsOf(ranges))
        const all = pages.map((page, place) => [page, place])
        expect(slowPages(inside)).toEqual(all.filter(([page]) => ranges.includes(page ?? -1)))
        expect(slowPages(outside)).toEqual(all.filter(([page]) => !ranges.includes(page ?? -1)))
      }),
      { numRuns: 500 },
    )
  })

  it('are one where the plan is whole', () => {
    fc.assert(
      fc.property(somePages, (pages) => {
        const whole = slowPages(wholePlan(planOfRuns(runsOf(pages), NO_RUNS)))
        expect(whole).toEqual(pages.map((page, place) => [page, place]))
      }),
    )
  })
})
