/** Measurements for the tests, with only what a test is about. */
import type { Measured, Run, Spread } from '../../bench/figures.js'

/** A spread of one value, or with a range. */
export function spread(median: number, min = median, max = median): Spread {
  return { median, min, max }
}

/** A measurement of 1g-100 to tmpfs by `tidemark copy`, unless said otherwise. */
export function measured(figures: Readonly<Record<string, Spread>>, rest: Partial<Measured> = {}): Measured {
  return {
    shape: '1g-100',
    target: 'tmpfs',
    candidate: 'tidemark copy',
    runs: 5,
    rejected: 0,
    disturbed: false,
    notes: [],
    ...rest,
    figures,
  }
}

/** A run whose frozen time is `frozen`. */
export function run(frozen: number, disturbance = 0): Run {
  return { figures: { frozen }, disturbance }
}
