import { describe, expect, it } from '@jest/globals'
import { ClearRefs } from '../../src/kernel/clear-refs.js'
import { numberFact } from '../support/facts.js'
import { describeIf, hasSoftDirty } from '../support/privileges.js'
import { withVictim } from '../support/victim.js'
import { pageSize } from '../support/kernel-vmas.js'
import { fill } from '../victims/memory.js'
import { isSoftDirty, withMapped } from './watched-memory.js'

const PAGE = pageSize()

/** Clears the bits of process `pid`. */
function clear(pid: number): void {
  const refs = new ClearRefs(pid)
  try {
    refs.clearSoftDirty()
  } finally {
    refs.close()
  }
}

describeIf(hasSoftDirty(), 'the kernel has no soft-dirty bits')('clearing the soft-dirty bits', () => {
  it('clears that of every page, and writes after it set those of their pages alone', () => {
    withMapped(4, (address) => {
      const bits = (): boolean[] => [0, 1, 2, 3].map((page) => isSoftDirty(address + page * PAGE))
      fill(address, 4, 1)
      expect(bits()).toEqual([true, true, true, true])
      clear(process.pid)
      expect(bits()).toEqual([false, false, false, false])
      fill(address + 2 * PAGE, 1, 2)
      expect(bits()).toEqual([false, false, true, false])
    })
  })

  it('can be done again with the same file', () => {
    withMapped(1, (address) => {
      const refs = new ClearRefs(process.pid)
      try {
        for (const seed of [1, 2, 3]) {
          fill(address, 1, seed)
          refs.clearSoftDirty()
          expect(isSoftDirty(address)).toBe(false)
        }
      } finally {
        refs.close()
      }
    })
  })

  it('of another process leaves our own alone', async () => {
    await withVictim('plain', [], async ({ pid }) => {
      await Promise.resolve()
      withMapped(1, (address) => {
        fill(address, 1, 1)
        clear(pid)
        expect(isSoftDirty(address)).toBe(true)
      })
    })
  })
})

describe('clearing the bits of a process that is gone', () => {
  it('says so, before its file is opened and after', async () => {
    await withVictim('plain', [], async ({ pid, facts, stop }) => {
      const refs = new ClearRefs(numberFact(facts, 'pid'))
      try {
        await stop()
        expect(() => refs.clearSoftDirty()).toThrow(expect.objectContaining({ code: 'TARGET_DIED' }))
        expect(() => new ClearRefs(pid)).toThrow(expect.objectContaining({ code: 'TARGET_DIED' }))
      } finally {
        refs.close()
      }
    })
  })
})
