/** The monotonic clock, the same in every thread (performance.now() has another origin in each). */

/** Clock ticks in a second, as /proc counts them. source: include/asm-generic/param.h */
export const USER_HZ = 100

/** Microseconds since some fixed point. */
export function monotonicMicros(): number {
  return Number(process.hrtime.bigint() / 1000n)
}
