/**
 * Beyond the cores of this machine: what a frozen window would take with many workers, by Amdahl's law from what it
 * takes with one and with two.
 *
 *   t(1) = serial + parallel                  one thread does a step, or all do: seize, checks, maps, plan and thaw
 *   t(2) = serial + parallel / 2              are one thread's work and stay what they are
 *   t(n) = serial + parallel / n + wake(n) - wake(1)
 *
 * It knows nothing of the bus: where memory gives less than the rate that is told beside it, that is the limit.
 */
import { STEPS, type Step, type StepTimes } from './dump-run.js'

/** Steps that all workers share. */
export const SHARED_STEPS: readonly Step[] = ['scan', 'capture', 'reset']

/** A step's time in microseconds, by what more workers do to it. */
export interface StepFit {
  readonly step: Step
  readonly serialUs: number
  readonly parallelUs: number
}

/** What is to be expected with so many workers. Times in microseconds. */
export interface Prediction {
  readonly workers: number
  readonly frozenUs: number
  readonly steps: StepTimes
  /** The longest step. */
  readonly limit: Step
  /** How many times as fast as one worker. */
  readonly speedUp: number
  /** Bytes a second that memory must give for the capture to take so long. */
  readonly captureBytesPerSecond: number
}

/** Fits each step to its time with one worker and with two. */
export function fitSteps(one: StepTimes, two: StepTimes): StepFit[] {
  return STEPS.map((step) => {
    const [first, second] = [one[step], two[step]]
    // Noise, where one thread does it all: the mean is what is known.
    if (!SHARED_STEPS.includes(step)) return { step, serialUs: (first + second) / 2, parallelUs: 0 }
    const parallelUs = Math.min(first, Math.max(0, 2 * (first - second)))
    return { step, serialUs: first - parallelUs, parallelUs }
  })
}

/** The part of one worker's time that more workers do not shorten, from 0 to 1; 0 where it takes no time. */
export function serialFraction(fits: readonly StepFit[]): number {
  const serial = fits.reduce((sum, fit) => sum + fit.serialUs, 0)
  const all = fits.reduce((sum, fit) => sum + fit.serialUs + fit.parallelUs, 0)
  return all === 0 ? 0 : serial / all
}

/**
 * The window of `workers` threads.
 *
 * @param bytes - what the capture copies
 * @param wakeUs - how much longer it takes to wake so many and to hear of all than to wake one; each shared step that
 *   takes any time pays it
 */
export function predictWindow(
  fits: readonly StepFit[],
  workers: number,
  bytes: number,
  wakeUs = 0,
): Prediction {
  const single = windowOf(fits, 1, 0)
  const steps = windowOf(fits, workers, wakeUs)
  const frozenUs = totalOf(steps)
  const limit = STEPS.reduce((longest, step) => (steps[step] > steps[longest] ? step : longest))
  return {
    workers,
    frozenUs,
    steps,
    limit,
    speedUp: totalOf(single) / frozenUs,
    captureBytesPerSecond: steps.capture === 0 ? 0 : (bytes / steps.capture) * 1e6,
  }
}

function windowOf(fits: readonly StepFit[], workers: number, wakeUs: number): StepTimes {
  const time = (step: Step): number => {
    const { serialUs = 0, parallelUs = 0 } = fits.find((fit) => fit.step === step) ?? {}
    const wake = SHARED_STEPS.includes(step) && serialUs + parallelUs > 0 ? wakeUs : 0
    return serialUs + parallelUs / workers + wake
  }
  return {
    seize: time('seize'),
    checks: time('checks'),
    maps: time('maps'),
    fork: time('fork'),
    prepare: time('prepare'),
    scan: time('scan'),
    plan: time('plan'),
    capture: time('capture'),
    reset: time('reset'),
    thaw: time('thaw'),
  }
}

/** The whole window's time in microseconds. */
export function totalOf(steps: StepTimes): number {
  return STEPS.reduce((sum, step) => sum + steps[step], 0)
}
