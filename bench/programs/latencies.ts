/**
 * What clients saw in a span of time.
 *
 * Requests come by a schedule, as users do, who do not wait for each other. One that was due while the answer before it was
 * late waited from then on, though it could be sent only later: a loop that asks as fast as it is answered would see one
 * slow answer where its users see hundreds.
 *
 *   due        |   |   |   |   |   |   |
 *   sent       |   |           ||||    |
 *   answered    |   |--------->||||     |
 *   latency     .   ..........
 *                       ......
 *                           ..
 */
import { percentile } from '../statistics.js'

/** Answers, as columns in the order of their arrival; of all connections. Times in milliseconds of one clock. */
export class Samples {
  readonly dueMs: number[] = []
  readonly latencyMs: number[] = []

  /** Notes an answer at `answeredMs` to a request that was due at `dueMs`. */
  add(dueMs: number, answeredMs: number): void {
    this.dueMs.push(dueMs)
    this.latencyMs.push(answeredMs - dueMs)
  }
}

/** A span of time, in milliseconds of the samples' clock; the end is exclusive. */
export interface Span {
  readonly startMs: number
  readonly endMs: number
}

/** What clients saw. Milliseconds; NaN where nobody asked. */
export interface Latencies {
  readonly requests: number
  /** Answers that came within the spans. */
  readonly answersPerSecond: number
  readonly p50Ms: number
  readonly p99Ms: number
  readonly maxMs: number
}

/** Latencies of the requests that were due in one of `spans`, which do not overlap; the answers may have come later. */
export function latenciesIn(samples: Samples, spans: readonly Span[]): Latencies {
  const within = (time: number): boolean =>
    spans.some(({ startMs, endMs }) => time >= startMs && time < endMs)
  const { dueMs } = samples
  const chosen = samples.latencyMs.filter((_, index) => within(dueMs[index] ?? NaN))
  const answers = samples.latencyMs.filter((latency, index) => within((dueMs[index] ?? NaN) + latency))
  const seconds = spans.reduce((sum, { startMs, endMs }) => sum + endMs - startMs, 0) / 1000
  return {
    requests: chosen.length,
    answersPerSecond: answers.length / seconds,
    p50Ms: percentile(chosen, 0.5),
    p99Ms: percentile(chosen, 0.99),
    maxMs: percentile(chosen, 1),
  }
}
