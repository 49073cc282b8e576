import { describe, expect, test } from '@jest/globals'
import type { Step, StepTimes } from '../../bench/dump-run.js'
import { fitSteps, predictWindow, serialFraction, totalOf } from '../../bench/scaling.js'

const NOTHING: StepTimes = {
  ...{ seize: 0, checks: 0, maps: 0, prepare: 0 },
  ...{ scan: 0, plan: 0, fork: 0, capture: 0, reset: 0, thaw: 0 },
}

const steps = (times: Partial<Record<Step, number>>): StepTimes => ({ ...NOTHING, ...times })

describe('the fit', () => {
  test('a step that two workers halve is all parallel', () => {
    const fits = fitSteps(steps({ capture: 100 }), steps({ capture: 50 }))
    expect(fits.find(({ step }) => step === 'capture')).toEqual({
      step: 'capture',
      serialUs: 0,
      parallelUs: 100,
    })
  })

  test('a step that gains a quarter by the second worker is half parallel', () => {
    const fits = fitSteps(steps({ scan: 100 }), steps({ scan: 75 }))
    expect(fits.find(({ step }) => step === 'scan')).toEqual({ step: 'scan', serialUs: 50, parallelUs: 50 })
  })

  test('a step that becomes slower is all serial', () => {
    const fits = fitSteps(steps({ reset: 100 }), steps({ reset: 120 }))
    expect(fits.find(({ step }) => step === 'reset')).toEqual({ step: 'reset', serialUs: 100, parallelUs: 0 })
  })

  test('a step that more than halves has no negative serial part', () => {
    const fits = fitSteps(steps({ capture: 100 }), steps({ capture: 30 }))
    expect(fits.find(({ step }) => step === 'capture')).toEqual({
      step: 'capture',
      serialUs: 0,
      parallelUs: 100,
    })
  })

  test("one thread's step is serial, however its two times differ", () => {
    const fits = fitSteps(steps({ plan: 10 }), steps({ plan: 6 }))
    expect(fits.find(({ step }) => step === 'plan')).toEqual({ step: 'plan', serialUs: 8, parallelUs: 0 })
  })

  test('the serial fraction is that of the whole window', () => {
    expect(
      serialFraction(fitSteps(steps({ plan: 25, capture: 75 }), steps({ plan: 25, capture: 37.5 }))),
    ).toBe(0.25)
  })

  test('a window of no time has no serial fraction', () => {
    expect(serialFraction(fitSteps(NOTHING, NOTHING))).toBe(0)
  })
})

describe('the prediction', () => {
  const one = steps({ seize: 10, scan: 40, plan: 10, capture: 800, thaw: 5 })
  const two = steps({ seize: 10, scan: 20, plan: 10, capture: 400, thaw: 5 })
  const fits = fitSteps(one, two)

  test('for one and two workers is what was measured', () => {
    expect(predictWindow(fits, 1, 1).steps).toEqual(one)
    expect(predictWindow(fits, 2, 1).steps).toEqual(two)
  })

  test('with many workers the serial steps are left', () => {
    const { frozenUs, speedUp } = predictWindow(fits, 1e9, 1)
    expect(frozenUs).toBeCloseTo(25)
    expect(speedUp).toBeCloseTo(totalOf(one) / 25)
  })

  test('the limit is the longest step', () => {
    expect([1, 8, 128].map((workers) => predictWindow(fits, workers, 1).limit)).toEqual([
      'capture',
      'capture',
      'seize',
    ])
  })

  test('waking many is paid by each shared step that there is', () => {
    const waking = predictWindow(fits, 8, 1, 3)
    expect(waking.frozenUs - predictWindow(fits, 8, 1).frozenUs).toBeCloseTo(6)
    expect(waking.steps.reset).toBe(0)
  })

  test('the rate of the capture is its bytes over its time', () => {
    expect(predictWindow(fits, 8, 1000).captureBytesPerSecond).toBeCloseTo(1e7)
  })
})
