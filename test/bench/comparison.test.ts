import { describe, expect, test } from '@jest/globals'
import { compareResults, isWanted, worstRatio } from '../../bench/comparison.js'
import { measured, spread } from './measured.js'

const OPTIONS = { threshold: 1.1, figures: ['frozen', 'frozen: *', 'wall'], leastMs: 1 }

describe('the comparison of two results', () => {
  test('what became slower comes slowest first, with its ratio', () => {
    const before = [measured({ frozen: spread(100), wall: spread(1000) })]
    const after = [measured({ frozen: spread(120), wall: spread(1500) })]
    const { slower, faster } = compareResults(before, after, OPTIONS)
    expect(slower.map(({ figure, ratio }) => [figure, ratio])).toEqual([
      ['wall', 1.5],
      ['frozen', 1.2],
    ])
    expect(faster).toEqual([])
  })

  test('what became faster comes apart', () => {
    const before = [measured({ frozen: spread(100) })]
    const after = [measured({ frozen: spread(50) })]
    const { slower, faster } = compareResults(before, after, OPTIONS)
    expect(slower).toEqual([])
    expect(faster.map(({ ratio }) => ratio)).toEqual([0.5])
  })

  test('a change below the threshold, or of less than the least, is counted only', () => {
    const before = [measured({ frozen: spread(100), 'frozen: plan': spread(0.2) })]
    const after = [measured({ frozen: spread(109), 'frozen: plan': spread(0.9) })]
    expect(compareResults(before, after, OPTIONS)).toMatchObject({ slower: [], faster: [], same: 2 })
  })

  test('ranges that overlap may be chance, and are not the worst', () => {
    const before = [measured({ frozen: spread(100, 90, 150), wall: spread(1000, 990, 1010) })]
    const after = [measured({ frozen: spread(140, 130, 160), wall: spread(1200, 1100, 1300) })]
    const comparison = compareResults(before, after, OPTIONS)
    expect(comparison.slower.map(({ figure, mayBeChance }) => [figure, mayBeChance])).toEqual([
      ['frozen', true],
      ['wall', false],
    ])
    expect(worstRatio(comparison)).toBe(1.2)
  })

  test('one run has no range, and may be chance', () => {
    const before = [measured({ frozen: spread(100) }, { runs: 1 })]
    const { slower } = compareResults(before, [measured({ frozen: spread(200) })], OPTIONS)
    expect(slower.map(({ mayBeChance }) => mayBeChance)).toEqual([true])
  })

  test('where nothing became slower the worst ratio is 1', () => {
    const same = [measured({ frozen: spread(100) })]
    expect(worstRatio(compareResults(same, same, OPTIONS))).toBe(1)
  })

  test('figures of other places and candidates are not mixed', () => {
    const before = [
      measured({ frozen: spread(100) }),
      measured({ frozen: spread(10) }, { candidate: 'tidemark fork' }),
    ]
    const after = [measured({ frozen: spread(100) }), measured({ frozen: spread(10) }, { target: 'ext4' })]
    expect(compareResults(before, after, OPTIONS)).toMatchObject({
      slower: [],
      same: 1,
      onlyBefore: ['1g-100 to tmpfs, tidemark fork'],
      onlyAfter: ['1g-100 to ext4, tidemark copy'],
    })
  })

  test('a zero has no ratio', () => {
    const before = [measured({ frozen: spread(0) })]
    const after = [measured({ frozen: spread(5) })]
    expect(compareResults(before, after, OPTIONS)).toMatchObject({ slower: [], same: 0 })
  })

  test('a star at the end of a name stands for anything', () => {
    expect(isWanted('frozen: scan', ['frozen: *'])).toBe(true)
    expect(isWanted('frozen', ['frozen: *'])).toBe(false)
    expect(isWanted('frozen: scan', ['frozen'])).toBe(false)
  })
})
