import { describe, expect, test } from '@jest/globals'
import { latenciesIn, Samples } from '../../../bench/programs/latencies.js'

/** A request every 10 ms for a second, each answered after 1 ms, but for those due in a stand, answered at its end. */
function samplesWithStand(fromMs: number, toMs: number): Samples {
  const samples = new Samples()
  for (let due = 0; due < 1000; due += 10) samples.add(due, due >= fromMs && due < toMs ? toMs : due + 1)
  return samples
}

describe('what clients see in a span', () => {
  const samples = samplesWithStand(500, 600)

  test('counts the requests that were due in it', () => {
    expect(latenciesIn(samples, [{ startMs: 0, endMs: 500 }])).toMatchObject({ requests: 50, maxMs: 1 })
  })

  test('has every request that a stand held up', () => {
    const seen = latenciesIn(samples, [{ startMs: 500, endMs: 600 }])
    expect(seen).toMatchObject({ requests: 10, maxMs: 100, p50Ms: 60 })
  })

  test('has the answers that came in it', () => {
    expect(latenciesIn(samples, [{ startMs: 500, endMs: 600 }]).answersPerSecond).toBe(0)
    expect(latenciesIn(samples, [{ startMs: 600, endMs: 700 }]).answersPerSecond).toBe(200)
  })

  test('is the same in one span or two', () => {
    const halves = [
      { startMs: 0, endMs: 400 },
      { startMs: 400, endMs: 1000 },
    ]
    expect(latenciesIn(samples, halves)).toEqual(latenciesIn(samples, [{ startMs: 0, endMs: 1000 }]))
  })

  test('is nothing where nobody asked', () => {
    const seen = latenciesIn(samples, [{ startMs: 5000, endMs: 6000 }])
    expect(seen).toEqual({ requests: 0, answersPerSecond: 0, p50Ms: NaN, p99Ms: NaN, maxMs: NaN })
  })
})
