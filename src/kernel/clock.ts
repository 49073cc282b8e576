/** The monotonic clock, the same in every thread (performance.now() has another origin in each). */

/** Microseconds since some fixed point. */
export function monotonicMicros(): number {
  return Number(process.hrtime.bigint() / 1000n)
}
