import { describe, expect, test } from '@jest/globals'
import { AIMS, aimsRows, AIMS_HEAD, incrementName, judgeAims, verdictOf } from '../../bench/aims.js'
import { measured, spread } from './measured.js'

const CRIU = measured({ frozen: spread(600), work: spread(600), wall: spread(650) }, { candidate: 'criu' })

describe('the aims', () => {
  test('a frozen time within its part of CRIU’s in the same run is met', () => {
    const own = measured({ frozen: spread(30) }, { candidate: 'tidemark fork' })
    const judged = judgeAims([own, CRIU]).find(({ value }) => value !== undefined)
    expect(judged).toMatchObject({ value: 30, peer: 600, allowed: 40 })
    expect(judged === undefined ? '' : verdictOf(judged)).toBe('met, 25 % below')
  })

  test('a wall time may be CRIU’s and 0.2 s', () => {
    const own = measured({ wall: spread(900) })
    const judged = judgeAims([own, CRIU]).find(({ value }) => value !== undefined)
    expect(judged?.allowed).toBe(850)
    expect(judged === undefined ? '' : verdictOf(judged)).toBe('missed, 50 ms (1.06 times)')
  })

  test('any file system but tmpfs is a disk', () => {
    const own = measured({ frozen: spread(150) }, { target: 'xfs' })
    const peer = { ...CRIU, target: 'xfs' }
    const judged = judgeAims([own, peer]).filter(({ value }) => value !== undefined)
    expect(judged.map(({ aim, allowed }) => [aim.target, allowed])).toEqual([['disk', 150]])
  })

  test('increments are held against the fixed floor, without a CRIU', () => {
    const shape = incrementName('1g-10000', 0.01, 'scattered')
    const own = measured({ frozen: spread(37), wall: spread(481) }, { shape, candidate: 'uffd-wp copy' })
    const judged = judgeAims([own]).filter(({ value }) => value !== undefined)
    expect(judged.map(({ peer, allowed = 0 }) => [peer, Math.round(allowed)])).toEqual([
      [148, 49],
      [181, 481],
    ])
    expect(judged.map((one) => verdictOf(one).slice(0, 3))).toEqual(['met', 'met'])
  })

  test('what was not measured is said', () => {
    expect(new Set(judgeAims([]).map(verdictOf))).toEqual(new Set(['not measured']))
    expect(judgeAims([])).toHaveLength(AIMS.length)
  })

  test('every row has a cell for each head', () => {
    for (const row of aimsRows(judgeAims([CRIU]))) expect(row).toHaveLength(AIMS_HEAD.length)
  })
})
