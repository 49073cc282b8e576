/** Medians and percentiles. */

/** The median of `values`: the upper one of two middle values, NaN where there are none. */
export function median(values: readonly number[]): number {
  return percentile(values, 0.5)
}

/**
 * The value below which `part` of all `values` lie, by nearest rank; NaN where there are none.
 *
 * @param part - from 0, the least value, to 1, the largest
 */
export function percentile(values: readonly number[], part: number): number {
  const sorted = Float64Array.from(values).sort()
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] ?? NaN
}
