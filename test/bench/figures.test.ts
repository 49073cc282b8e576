import { describe, expect, test } from '@jest/globals'
import { chooseRuns, spreadOf, spreadsOf } from '../../bench/figures.js'
import { run } from './measured.js'

describe('the spread of values', () => {
  test('the middle one of an odd number is the median', () => {
    expect(spreadOf([9, 1, 5])).toEqual({ median: 5, min: 1, max: 9 })
  })

  test('the mean of the middle two of an even number is the median', () => {
    expect(spreadOf([10, 2, 100, 4])).toEqual({ median: 7, min: 2, max: 100 })
  })

  test('numbers are sorted as numbers', () => {
    expect(spreadOf([10, 9, 100]).median).toBe(10)
  })

  test('no values are refused', () => {
    expect(() => spreadOf([])).toThrow('no values')
  })

  test('a figure that only some runs have is taken from those', () => {
    const runs = [run(1), { figures: { frozen: 3, 'frozen: fork': 2 }, disturbance: 0 }]
    expect(spreadsOf(runs)).toEqual({
      frozen: { median: 2, min: 1, max: 3 },
      'frozen: fork': { median: 2, min: 2, max: 2 },
    })
  })
})

describe('the choice of runs', () => {
  test('the first quiet ones are taken, as many as wanted', () => {
    const runs = [run(1, 0.5), run(2), run(3), run(4)]
    expect(chooseRuns(runs, 2, 0.1)).toEqual({ chosen: [runs[1], runs[2]], disturbed: false })
  })

  test('where none is quiet, the quietest are, and it is said', () => {
    const runs = [run(1, 0.5), run(2, 0.2), run(3, 0.3)]
    expect(chooseRuns(runs, 2, 0.1)).toEqual({ chosen: [runs[1], runs[2]], disturbed: true })
  })

  test('no runs are no disturbance', () => {
    expect(chooseRuns([], 2, 0.1)).toEqual({ chosen: [], disturbed: false })
  })
})
