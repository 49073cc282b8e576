/** What a run is worth: figures by name, and their medians and ranges over the runs of one candidate. */

/**
 * Figures by name; milliseconds, but `peak` (MiB), `stored` (pages), `write each` (microseconds that the target took for
 * its first write to a page) and `disturbance` (part of all cores' time).
 *
 *   frozen             how long the target stood still, as the candidate tells (gcore does not: `stopped`)
 *   stopped            the same, as seen from outside, by sampling a thread of the target
 *   wall               from the command line to the exit
 *   start-up           the part of wall in which the candidate only begins or ends
 *   work               the rest of wall
 *   frozen: NAME       a step while the target stands
 *   wall: NAME         a step while it runs
 */
export type Figures = Readonly<Record<string, number>>

/** One run of a candidate. */
export interface Run {
  readonly figures: Figures
  /** Part of all cores' time that other processes took meanwhile. */
  readonly disturbance: number
  /** What a reader must know of this run, e.g. that fork capture fell back to copying. */
  readonly note?: string
}

/** A figure over several runs. */
export interface Spread {
  readonly median: number
  readonly min: number
  readonly max: number
}

/** What one candidate came to with one shape. */
export interface Measured {
  readonly shape: string
  /** File system that was written to. */
  readonly target: string
  readonly candidate: string
  /** Runs that the figures are from. */
  readonly runs: number
  /** Runs that were thrown away, since other processes disturbed them. */
  readonly rejected: number
  /** No run was quiet: the figures are from the quietest. */
  readonly disturbed: boolean
  readonly notes: readonly string[]
  readonly figures: Readonly<Record<string, Spread>>
}

/** Median, least and greatest of `values`. The median of an even number is the mean of the middle two. Throws for none. */
export function spreadOf(values: readonly number[]): Spread {
  const sorted = [...values].sort((a, b) => a - b)
  const lower = sorted[Math.floor((sorted.length - 1) / 2)]
  const upper = sorted[Math.floor(sorted.length / 2)]
  const min = sorted[0]
  const max = sorted.at(-1)
  if (lower === undefined || upper === undefined || min === undefined || max === undefined) {
    throw new Error('no values')
  }
  return { median: (lower + upper) / 2, min, max }
}

/** Spreads of all figures that any of `runs` has, each over the runs that have it. */
export function spreadsOf(runs: readonly Run[]): Record<string, Spread> {
  const values = new Map<string, number[]>()
  for (const { figures } of runs) {
    for (const [name, value] of Object.entries(figures)) {
      values.set(name, [...(values.get(name) ?? []), value])
    }
  }
  return Object.fromEntries([...values].map(([name, list]) => [name, spreadOf(list)]))
}

/** The `wanted` runs to take figures from: quiet ones in the order they were taken, or else the quietest of all. */
export function chooseRuns(
  runs: readonly Run[],
  wanted: number,
  maxDisturbance: number,
): { readonly chosen: readonly Run[]; readonly disturbed: boolean } {
  const quiet = runs.filter(({ disturbance }) => disturbance <= maxDisturbance)
  if (quiet.length > 0 || runs.length === 0) return { chosen: quiet.slice(0, wanted), disturbed: false }
  const byDisturbance = [...runs].sort((a, b) => a.disturbance - b.disturbance)
  return { chosen: byDisturbance.slice(0, wanted), disturbed: true }
}
