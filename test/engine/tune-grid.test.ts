import { describe, expect, it } from '@jest/globals'
import fc from 'fast-check'
import { tuneGrid } from '../../src/engine/tune-grid.js'

const ALL = { shardPages: true, bufferSize: true }
const settings = fc.record({
  workers: fc.integer({ min: 1, max: 256 }),
  shardPages: fc.constantFrom(undefined, 1, 8192),
  bufferSize: fc.constantFrom(2 ** 12, 2 ** 16, 2 ** 20, 2 ** 22),
})

describe('the settings that are tried', () => {
  it('begin with the baseline, and each other differs from it in the one thing that it says', () => {
    fc.assert(
      fc.property(settings, (baseline) => {
        const [first, ...others] = tuneGrid(baseline, ALL)
        expect(first).toEqual({ ...baseline, varied: 'nothing' })
        for (const { varied, ...other } of others) {
          const differing = (['workers', 'shardPages', 'bufferSize'] as const).filter(
            (name) => other[name] !== baseline[name],
          )
          if (varied !== 'shardPages' || differing.length > 0) expect(differing).toEqual([varied])
        }
      }),
    )
  })

  it('go from one worker to fewer than the baseline has, not in more than eight steps', () => {
    fc.assert(
      fc.property(settings, (baseline) => {
        const counts = tuneGrid(baseline, ALL)
          .filter(({ varied }) => varied === 'workers')
          .map(({ workers }) => workers)
        expect(counts.length).toBeLessThanOrEqual(8)
        expect(counts.every((workers) => workers < baseline.workers)).toBe(true)
        expect(counts.includes(1)).toBe(baseline.workers > 1)
      }),
    )
  })

  it('leave alone what is not to be varied', () => {
    const baseline = { workers: 1, shardPages: 500, bufferSize: 2 ** 14 }
    expect(tuneGrid(baseline, { shardPages: false, bufferSize: false })).toEqual([
      { ...baseline, varied: 'nothing' },
    ])
  })
})
