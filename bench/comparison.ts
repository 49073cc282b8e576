/** Two results, figure by figure: what became slower. Pure. */
import type { Measured, Spread } from './figures.js'

/** One figure that both results have. */
export interface Change {
  readonly shape: string
  readonly target: string
  readonly candidate: string
  readonly figure: string
  readonly before: Spread
  readonly after: Spread
  /** Median after, as a part of the median before: above 1 is slower. */
  readonly ratio: number
  /** The ranges overlap, or there is but one run and so no range. */
  readonly mayBeChance: boolean
}

/** Two results, compared. */
export interface Comparison {
  /** Slowest first. */
  readonly slower: readonly Change[]
  /** Fastest first. */
  readonly faster: readonly Change[]
  /** Figures that changed less than the threshold. */
  readonly same: number
  /** Measured in only one of both. */
  readonly onlyBefore: readonly string[]
  readonly onlyAfter: readonly string[]
}

/** How to compare. */
export interface ComparisonOptions {
  /** Ratio from which, or below the inverse of which, a change is shown. */
  readonly threshold: number
  /** Names of figures; one that ends in `*` stands for all that begin so. */
  readonly figures: readonly string[]
  /** Milliseconds by which a figure has to change, too: a step of 0.1 ms doubles by chance. */
  readonly leastMs: number
}

/** Compares `after` with `before`. */
export function compareResults(
  before: readonly Measured[],
  after: readonly Measured[],
  options: ComparisonOptions,
): Comparison {
  const earlier = new Map(before.map((one) => [nameOf(one), one]))
  const later = new Map(after.map((one) => [nameOf(one), one]))
  const changes = [...later].flatMap(([name, one]) => {
    const old = earlier.get(name)
    return old === undefined ? [] : changesOf(old, one, options.figures)
  })
  const isShown = ({ ratio, before: from, after: to }: Change): boolean =>
    Math.max(ratio, 1 / ratio) >= options.threshold && Math.abs(to.median - from.median) >= options.leastMs
  const shown = changes.filter(isShown)
  return {
    slower: shown.filter(({ ratio }) => ratio > 1).sort((a, b) => b.ratio - a.ratio),
    faster: shown.filter(({ ratio }) => ratio < 1).sort((a, b) => a.ratio - b.ratio),
    same: changes.length - shown.length,
    onlyBefore: [...earlier.keys()].filter((name) => !later.has(name)),
    onlyAfter: [...later.keys()].filter((name) => !earlier.has(name)),
  }
}

/** The greatest ratio among what became slower beyond the ranges of both; 1 where nothing did. */
export function worstRatio({ slower }: Comparison): number {
  return Math.max(1, ...slower.filter(({ mayBeChance }) => !mayBeChance).map(({ ratio }) => ratio))
}

/** Whether `figure` is one of `wanted`. */
export function isWanted(figure: string, wanted: readonly string[]): boolean {
  return wanted.some((name) => (name.endsWith('*') ? figure.startsWith(name.slice(0, -1)) : figure === name))
}

function changesOf(before: Measured, after: Measured, wanted: readonly string[]): Change[] {
  const { shape, target, candidate } = after
  return Object.entries(after.figures)
    .filter(([figure]) => isWanted(figure, wanted))
    .flatMap(([figure, spread]) => {
      const old = before.figures[figure]
      if (old === undefined || old.median <= 0 || spread.median <= 0) return []
      const overlap = spread.min <= old.max && old.min <= spread.max
      const mayBeChance = overlap || Math.min(before.runs, after.runs) < 2
      const ratio = spread.median / old.median
      return [{ shape, target, candidate, figure, before: old, after: spread, ratio, mayBeChance }]
    })
}

function nameOf({ shape, target, candidate }: Measured): string {
  return `${shape} to ${target}, ${candidate}`
}
