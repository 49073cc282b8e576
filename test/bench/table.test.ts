import { describe, expect, test } from '@jest/globals'
import {
  figuresTable,
  formatNumber,
  formatRange,
  formatRatio,
  formatRuns,
  formatTable,
  notesOf,
  peerOf,
  ratioTo,
  stepsTable,
} from '../../bench/table.js'
import { measured, spread } from './measured.js'

describe('tables', () => {
  test('columns are as wide as their widest cell, three at least', () => {
    expect(formatTable(['a', 'long head'], [['wide cell', 'b']])).toBe(
      ['| a         | long head |', '| --------- | --------- |', '| wide cell | b         |'].join('\n'),
    )
    expect(formatTable(['a'], [])).toBe('| a   |\n| --- |')
  })

  test('a peer is of the same shape and file system', () => {
    const own = measured({ frozen: spread(50) })
    const elsewhere = measured({ frozen: spread(1) }, { candidate: 'criu', target: 'ext4' })
    const peer = measured({ frozen: spread(100) }, { candidate: 'criu' })
    expect(peerOf([own, elsewhere, peer], own, 'criu')).toBe(peer)
    expect(peerOf([own, elsewhere], own, 'criu')).toBeUndefined()
    expect(ratioTo(own, peer, 'frozen')).toBe(0.5)
    expect(ratioTo(own, peer, 'wall')).toBeUndefined()
    expect(ratioTo(own, undefined, 'frozen')).toBeUndefined()
  })

  test('columns of ratios are there for the peers that were measured', () => {
    const lines = [measured({ frozen: spread(50) }), measured({ frozen: spread(100) }, { candidate: 'criu' })]
    const [head = '', , first = ''] = figuresTable(lines).split('\n')
    expect(head).toContain('of criu: frozen')
    expect(head).not.toContain('gcore')
    expect(first).toMatch(/\| 0\.50 +\| - +\|$/)
  })

  test('steps are those of Tidemark alone, also ones that this table does not know by name', () => {
    const own = measured({ frozen: spread(50), 'frozen: fork': spread(20), 'wall: prepare': spread(300) })
    const peer = measured({ frozen: spread(100), 'frozen: capture': spread(9) }, { candidate: 'criu' })
    const table = stepsTable([own, peer])
    expect(table).toContain('frozen: fork')
    expect(table).not.toContain('criu')
  })

  test('runs tell of those that were thrown away, and of a disturbed machine', () => {
    expect(formatRuns(measured({}))).toBe('5')
    expect(formatRuns(measured({}, { rejected: 2 }))).toBe('5 of 7')
    expect(formatRuns(measured({}, { rejected: 2, disturbed: true }))).toBe('5 of 7 !')
  })

  test('numbers have about three digits', () => {
    expect([0.123, 1.26, 12.6, 1234.5].map(formatNumber)).toEqual(['0.12', '1.3', '13', '1235'])
    expect(formatNumber(undefined)).toBe('-')
    expect(formatRange(spread(2, 1, 30))).toBe('1.0-30')
    expect([0.0666, 0.5, undefined].map(formatRatio)).toEqual(['0.067', '0.50', '-'])
  })

  test('notes name their line, and disturbed lines are counted', () => {
    const notes = notesOf([measured({}, { notes: ['fell back'] }), measured({}, { disturbed: true })])
    expect(notes[0]).toBe('1g-100 to tmpfs, tidemark copy: fell back')
    expect(notes[1]).toMatch(/^! \(1 of 2\)/)
    expect(notesOf([measured({})])).toEqual([])
  })
})
