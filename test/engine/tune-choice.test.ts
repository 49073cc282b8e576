import { describe, expect, it } from '@jest/globals'
import { chooseSettings, medianSample, type TuneTrial } from '../../src/engine/tune-choice.js'
import type { TrialSettings } from '../../src/engine/tune-grid.js'
import type { TuneSample } from '../../src/engine/tune-trial.js'

const BASELINE = { workers: 4, shardPages: undefined, bufferSize: 2 ** 20 } as const
const USUAL: TuneSample = {
  pages: 1000,
  scanUs: 10_000,
  captureUs: 80_000,
  frozenUs: 100_000,
  streamedBytes: 0,
  writeUs: 500_000,
  syncUs: 500_000,
}

/** A trial that took, in each round, what `rounds` say that differs from the usual. */
function trial(
  settings: Partial<TrialSettings>,
  rounds: readonly Partial<TuneSample>[] = [{}, {}, {}],
): TuneTrial {
  const samples = rounds.map((round) => ({ ...USUAL, ...round }))
  return { ...BASELINE, varied: 'nothing', ...settings, samples, median: medianSample(samples) }
}

/** Three rounds that are alike. */
function thrice(sample: Partial<TuneSample>): readonly Partial<TuneSample>[] {
  return [sample, sample, sample]
}

describe('the choice', () => {
  it('is the baseline where nothing is better by more than chance', () => {
    const others = [
      trial({ varied: 'workers', workers: 2 }, thrice({ frozenUs: 96_000 })),
      trial({ varied: 'shardPages', shardPages: 1024 }, thrice({ scanUs: 6_000 })),
      trial({ varied: 'bufferSize', bufferSize: 2 ** 16 }, thrice({ captureUs: 76_000, writeUs: 410_000 })),
    ]
    expect(chooseSettings(trial({}), others)).toEqual({ ...BASELINE, gains: [] })
  })

  it('takes the best of each kind, and says what it saves', () => {
    const others = [
      trial({ varied: 'workers', workers: 1 }, thrice({ frozenUs: 90_000 })),
      trial({ varied: 'workers', workers: 2 }, thrice({ frozenUs: 70_000 })),
      trial({ varied: 'shardPages', shardPages: 1024 }, thrice({ scanUs: 2_000 })),
      trial({ varied: 'bufferSize', bufferSize: 2 ** 16 }, thrice({ captureUs: 40_000 })),
      trial({ varied: 'bufferSize', bufferSize: 2 ** 22 }, thrice({ captureUs: 60_000 })),
    ]
    expect(chooseSettings(trial({}), others)).toEqual({
      workers: 2,
      shardPages: 1024,
      bufferSize: 2 ** 16,
      gains: [
        { varied: 'workers', step: 'frozen', baselineUs: 100_000, us: 70_000 },
        { varied: 'shardPages', step: 'scan', baselineUs: 10_000, us: 2_000 },
        { varied: 'bufferSize', step: 'capture', baselineUs: 80_000, us: 40_000 },
      ],
    })
  })

  it('is not taken in by one round out of three', () => {
    const lucky = [{ frozenUs: 10_000 }, { frozenUs: 101_000 }, { frozenUs: 102_000 }]
    const others = [trial({ varied: 'workers', workers: 2 }, lucky)]
    expect(chooseSettings(trial({}), others).workers).toBe(4)
  })

  it('compares round by round, so that a machine that becomes busy is no matter', () => {
    const rounds = (...times: readonly number[]): Partial<TuneSample>[] =>
      times.map((frozenUs) => ({ frozenUs }))
    const baseline = trial({}, rounds(50_000, 100_000, 400_000))
    const better = trial({ varied: 'workers', workers: 2 }, rounds(30_000, 80_000, 380_000))
    // Its median is less than half, but in two rounds it was slower.
    const lucky = trial({ varied: 'workers', workers: 1 }, rounds(60_000, 110_000, 40_000))
    expect(chooseSettings(baseline, [better, lucky]).workers).toBe(2)
  })

  it('goes by the time to the disk where the freeze is the same, but not at its cost', () => {
    const faster = { writeUs: 300_000, syncUs: 300_000 }
    const small = trial(
      { varied: 'bufferSize', bufferSize: 2 ** 16 },
      thrice({ ...faster, captureUs: 90_000 }),
    )
    const large = trial(
      { varied: 'bufferSize', bufferSize: 2 ** 22 },
      thrice({ ...faster, captureUs: 82_000 }),
    )
    expect(chooseSettings(trial({}), [small]).gains).toEqual([])
    expect(chooseSettings(trial({}), [small, large])).toMatchObject({
      bufferSize: 2 ** 22,
      gains: [{ varied: 'bufferSize', step: 'write', baselineUs: 1_000_000, us: 600_000 }],
    })
  })
})

describe('the median', () => {
  it('is taken of each figure by itself, and is one that was measured', () => {
    const samples = [3, 1, 4, 2].map((number) => ({ ...USUAL, scanUs: number, frozenUs: 10 - number }))
    expect(medianSample(samples)).toEqual({ ...USUAL, scanUs: 2, frozenUs: 7 })
  })
})
