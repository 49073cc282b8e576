import { describe, expect, test } from '@jest/globals'
import { figure, markdownTable, milliseconds } from '../../bench/markdown-table.js'

describe('a table', () => {
  test('has a head, a rule, and a line for each row', () => {
    expect(markdownTable(['a', 'b'], [['1', '2']])).toBe('| a | b |\n| --- | --- |\n| 1 | 2 |')
  })
})

describe('a figure', () => {
  test('has three digits, or those before its point', () => {
    expect([1.234, 12.34, 123.4, 1234].map(figure)).toEqual(['1.23', '12.3', '123', '1234'])
  })

  test('is a dash where there is none', () => {
    expect([undefined, NaN].map(figure)).toEqual(['-', '-'])
  })

  test('of microseconds can be told in milliseconds', () => {
    expect(milliseconds(4_500)).toBe('4.50')
  })
})
