import { describe, expect, test } from '@jest/globals'
import { median, percentile } from '../../bench/statistics.js'

describe('medians and percentiles', () => {
  test('the order of the values does not matter', () => {
    expect(median([5, 1, 3])).toBe(3)
  })

  test('of two middle values it is the upper one', () => {
    expect(median([1, 2, 3, 4])).toBe(3)
  })

  test('numbers are sorted as numbers', () => {
    expect(median([9, 10, 100])).toBe(10)
  })

  test('the ends are the least and the largest value', () => {
    expect([percentile([2, 1, 3], 0), percentile([2, 1, 3], 1)]).toEqual([1, 3])
  })

  test('one percent of a hundred values lies above the 99th percentile', () => {
    const values = Array.from({ length: 100 }, (_, index) => index)
    expect(percentile(values, 0.99)).toBe(99)
  })

  test('nothing has no median', () => {
    expect(median([])).toBeNaN()
  })

  test('the values are left as they are', () => {
    const values = [3, 1, 2]
    median(values)
    expect(values).toEqual([3, 1, 2])
  })
})
