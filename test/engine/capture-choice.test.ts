import { describe, expect, it } from '@jest/globals'
import {
  estimateCapture,
  isWorthIt,
  unforkedRanges,
  type CaptureFacts,
} from '../../src/engine/capture-choice.js'
import type { Vma } from '../../src/core/vma.js'
import { listRuns, vmaOfLine } from '../core/builders.js'

/** Anonymous memory of pages [`start`, `end`). */
function memory(start: number, end: number, flags?: string, path = '', rights = 'rw-p'): Vma {
  const hex = (page: number): string => (page * 4096).toString(16)
  return vmaOfLine(`${hex(start)}-${hex(end)} ${rights} 0 00:00 0 ${path}`, flags)
}

const GIB_PAGES = 2 ** 18
const FULL: CaptureFacts = {
  held: GIB_PAGES,
  huge: 0,
  vmas: 100,
  stored: GIB_PAGES,
  unforked: 0,
  staging: GIB_PAGES,
  workers: 2,
}

/** Which way is taken for shorter. */
function shorter(changes: Partial<CaptureFacts>): string {
  return isWorthIt(estimateCapture({ ...FULL, ...changes })) ? 'fork' : 'copy'
}

describe('the estimate of how long a process would stand', () => {
  it('is shorter by fork where most of what it holds is stored, by copy where little is', () => {
    expect(shorter({})).toBe('fork')
    expect(shorter({ stored: GIB_PAGES / 2 })).toBe('fork')
    expect(shorter({ stored: GIB_PAGES / 100 })).toBe('copy')
    expect(shorter({ held: 1000, stored: 1000 })).toBe('copy')
  })

  it('lets huge pages speak for the fork, and thousands of VMAs and memory that is not forked against it', () => {
    const some = { stored: GIB_PAGES / 20 }
    expect([shorter(some), shorter({ ...some, huge: GIB_PAGES })]).toEqual(['copy', 'fork'])
    const half = { stored: GIB_PAGES / 4 }
    expect([shorter(half), shorter({ ...half, vmas: 60_000 })]).toEqual(['fork', 'copy'])
    expect(shorter({ unforked: GIB_PAGES })).toBe('copy')
  })

  it('counts what exceeds the staging memory against the copy', () => {
    const { copy } = estimateCapture(FULL)
    expect(estimateCapture({ ...FULL, staging: 0 }).copy).toBeGreaterThan(copy)
    expect(estimateCapture({ ...FULL, staging: 0 }).fork).toBe(estimateCapture(FULL).fork)
  })
})

describe('what a fork does not hold', () => {
  it('is shared memory, memory kept from children, pages of the pool, and memory that nobody knows', () => {
    const vmas = [
      memory(0, 10, 'rd wr'),
      memory(10, 20, 'rd wr dc'),
      memory(30, 40, 'rd wf'),
      memory(50, 60, 'rd ht'),
      memory(70, 80, 'rd sh', '/[aio] (deleted)', 'rw-s'),
      memory(90, 95),
      memory(95, 99, undefined, '[heap]'),
    ]
    expect(listRuns(unforkedRanges(vmas, []))).toEqual([
      [10, 10],
      [30, 10],
      [50, 10],
      [70, 10],
      [90, 5],
    ])
  })

  it('takes in the pages that were spoiled, once where they overlap', () => {
    const vmas = [memory(10, 20, 'dc')]
    const spoiled = [
      { start: 15 * 4096 + 8, end: 15 * 4096 + 300 },
      { start: 30 * 4096 - 8, end: 30 * 4096 + 8 },
    ]
    expect(listRuns(unforkedRanges(vmas, spoiled))).toEqual([
      [10, 10],
      [29, 2],
    ])
  })
})
