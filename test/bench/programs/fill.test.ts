import { describe, expect, test } from '@jest/globals'
import { fillCount, fillKey, fillValue } from '../../../bench/programs/fill.js'

describe('the data of a program', () => {
  test('is a thousand bytes a pair', () => {
    expect([0, 7, 12_345, 999_999].map((index) => fillValue(index).length)).toEqual([1024, 1024, 1024, 1024])
    expect(fillCount(256) * 1024).toBe(256 * 2 ** 20)
  })

  test('differs from pair to pair', () => {
    expect([fillKey(12), fillValue(12).slice(0, 9)]).toEqual(['fill-12', '12-12-12-'])
    expect(fillValue(1)).not.toBe(fillValue(11))
  })
})
