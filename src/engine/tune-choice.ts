/** What a tuning recommends: the baseline, unless something else is clearly better. */
import type { TrialSettings, Varied, WorkSettings } from './tune-grid.js'
import type { TuneSample } from './tune-trial.js'

/** A trial with what it measured, round by round. */
export interface TuneTrial extends TrialSettings {
  /** The median of each figure. */
  readonly median: TuneSample
  /** One for each round, in order. */
  readonly samples: readonly TuneSample[]
}

/** A setting that is better than the baseline's. */
export interface TuneGain {
  readonly varied: Exclude<Varied, 'nothing'>
  /** What became shorter. */
  readonly step: 'frozen' | 'scan' | 'capture' | 'write'
  readonly baselineUs: number
  readonly us: number
}

/** The best of all settings that were tried, each chosen by itself. */
export interface TuneChoice extends WorkSettings {
  readonly gains: readonly TuneGain[]
}

/** A gain below these shares, of frozen time and of the time to write, is taken for chance. */
const LEAST_FROZEN_GAIN = 0.05
const LEAST_WRITE_GAIN = 0.1

type Cost = (sample: TuneSample) => number

const frozenCost: Cost = (sample) => sample.frozenUs
const writeCost: Cost = (sample) => sample.writeUs + sample.syncUs

/** The step that each setting acts on while the target stands still. */
const ACTS_ON = {
  workers: { step: 'frozen', cost: frozenCost },
  shardPages: { step: 'scan', cost: (sample: TuneSample) => sample.scanUs },
  bufferSize: { step: 'capture', cost: (sample: TuneSample) => sample.captureUs },
} as const

/** Chooses by frozen time first; where that makes no difference, by the time until the memory is on the disk. */
export function chooseSettings(baseline: TuneTrial, others: readonly TuneTrial[]): TuneChoice {
  const chosen = (['workers', 'shardPages', 'bufferSize'] as const).flatMap((varied) => {
    const found = choose(
      baseline,
      others.filter((trial) => trial.varied === varied),
      varied,
    )
    return found === undefined ? [] : [found]
  })
  const valueOf = <Name extends Exclude<Varied, 'nothing'>>(name: Name): WorkSettings[Name] =>
    (chosen.find(({ gain }) => gain.varied === name)?.trial ?? baseline)[name]
  return {
    workers: valueOf('workers'),
    shardPages: valueOf('shardPages'),
    bufferSize: valueOf('bufferSize'),
    gains: chosen.map(({ gain }) => gain),
  }
}

interface Chosen {
  readonly trial: TuneTrial
  readonly gain: TuneGain
}

function choose(
  baseline: TuneTrial,
  others: readonly TuneTrial[],
  varied: TuneGain['varied'],
): Chosen | undefined {
  const { step, cost } = ACTS_ON[varied]
  const least = LEAST_FROZEN_GAIN * baseline.median.frozenUs
  const quicker = best(baseline, others, cost, least)
  if (quicker !== undefined) return describe(baseline, quicker, varied, step, cost)
  // Shards are no matter to writing.
  if (varied === 'shardPages') return undefined
  const notSlower = others.filter((trial) => gainOf(baseline, trial, cost) > -least)
  const written = best(baseline, notSlower, writeCost, LEAST_WRITE_GAIN * writeCost(baseline.median))
  return written === undefined ? undefined : describe(baseline, written, varied, 'write', writeCost)
}

/** The trial that costs least, if it gains more than `least`. */
function best(
  baseline: TuneTrial,
  others: readonly TuneTrial[],
  cost: Cost,
  least: number,
): TuneTrial | undefined {
  let found: TuneTrial | undefined
  let most = least
  for (const trial of others) {
    const gain = gainOf(baseline, trial, cost)
    if (gain <= most) continue
    most = gain
    found = trial
  }
  return found
}

/**
 * What `trial` saves: the difference of the medians, or the median of the differences in each round, in which both
 * ran under about the same conditions; whichever is less.
 */
function gainOf(baseline: TuneTrial, trial: TuneTrial, cost: Cost): number {
  const byRound = median(
    baseline.samples.map((sample, round) => {
      const other = trial.samples[round]
      return other === undefined ? 0 : cost(sample) - cost(other)
    }),
  )
  return Math.min(byRound, cost(baseline.median) - cost(trial.median))
}

function describe(
  baseline: TuneTrial,
  trial: TuneTrial,
  varied: TuneGain['varied'],
  step: TuneGain['step'],
  cost: Cost,
): Chosen {
  return { trial, gain: { varied, step, baselineUs: cost(baseline.median), us: cost(trial.median) } }
}

/** The median of each figure of `samples`. */
export function medianSample(samples: readonly TuneSample[]): TuneSample {
  const of = (figure: keyof TuneSample): number => median(samples.map((sample) => sample[figure]))
  return {
    pages: of('pages'),
    scanUs: of('scanUs'),
    captureUs: of('captureUs'),
    frozenUs: of('frozenUs'),
    streamedBytes: of('streamedBytes'),
    writeUs: of('writeUs'),
    syncUs: of('syncUs'),
  }
}

/** The median; the lower of the two in the middle, 0 of nothing. */
function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b)
  return sorted[Math.floor((sorted.length - 1) / 2)] ?? 0
}
