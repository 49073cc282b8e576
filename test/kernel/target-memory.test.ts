import { writeFileSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals'
import type { DumpPlan } from '../../src/core/plan.js'
import { forceRewrite, TargetMemory } from '../../src/kernel/target-memory.js'
import { pagesOfRuns, planOfRuns, runsOfPages, type Run } from '../core/builders.js'
import { numberFact, objectsFact, type Facts } from '../support/facts.js'
import { pageSize } from '../support/kernel-vmas.js'
import { expectedPages, withProcessPages } from '../support/oracle.js'
import { firstPage, pagesFrom } from '../support/pages.js'
import { hasSoftDirty, itIf, kernelAtLeast } from '../support/privileges.js'
import { suspend } from '../support/processes.js'
import { startVictim, withVictim, type Victim } from '../support/victim.js'
import { pageContent } from '../victims/content.js'
import { fill, PROT, protectPages } from '../victims/memory.js'
import { ownBytes, withOwnPages } from './own-memory.js'
import { isSoftDirty, withMapped } from './watched-memory.js'

const PAGE = pageSize()

/** The bytes that copyPages puts into our memory for file pages [`start`, `end`). */
function copied(memory: TargetMemory, plan: DumpPlan, start: number, end: number): Buffer {
  return withOwnPages(end - start + 1, (address) => {
    memory.copyPages(plan, start, end, address)
    return ownBytes(address, (end - start) * PAGE)
  })
}

/** Those of `pages` whose bytes in `bytes` are not those of the process. */
function wrongPages(pid: number, pages: readonly number[], bytes: Buffer): number[] {
  return withProcessPages(pid, (readPage) =>
    pages.filter((page, index) => !readPage(page).equals(bytes.subarray(index * PAGE, (index + 1) * PAGE))),
  )
}

describe('the memory of a target', () => {
  let victim: Victim
  let memory: TargetMemory
  const region = (name: string): Facts =>
    objectsFact(victim.facts, 'regions').find((each) => each.name === name) ?? {}

  beforeAll(async () => {
    victim = await startVictim('hard')
    await suspend(victim.pid)
  })
  afterAll(() => victim.stop())

  const withMemory = (use: () => void): void => {
    memory = new TargetMemory(victim.pid, victim.pid)
    try {
      use()
    } finally {
      memory.close()
    }
  }

  it('is copied right to the last byte, every page that a snapshot must hold', () => {
    withMemory(() => {
      const { required } = expectedPages(victim.pid)
      const plan = planOfRuns(runsOfPages(required))
      const bytes = copied(memory, plan, 0, required.length)
      expect(required.length).toBeGreaterThan(2000)
      expect(wrongPages(victim.pid, required, bytes)).toEqual([])
    })
  })

  it('is copied right in batches that begin and end in the middle of runs', () => {
    withMemory(() => {
      const pages = expectedPages(victim.pid).required.slice(0, 3000)
      const plan = planOfRuns(runsOfPages(pages))
      for (let start = 0; start < pages.length; start += 701) {
        const end = Math.min(pages.length, start + 701)
        const bytes = copied(memory, plan, start, end)
        expect(wrongPages(victim.pid, pages.slice(start, end), bytes)).toEqual([])
      }
    })
  })

  it.each(['prot-none', 'write-only', 'read-only', 'executable', 'neighbours', 'high-page', 'low-page'])(
    'is read whatever its protection: %s',
    (name) => {
      withMemory(() => {
        const run: Run = [firstPage(region(name)), numberFact(region(name), 'pages')]
        const bytes = copied(memory, planOfRuns([run]), 0, run[1])
        for (const [index, page] of pagesOfRuns([run]).entries()) {
          expect(bytes.subarray(index * PAGE, (index + 1) * PAGE).equals(pageContent(page, 1))).toBe(true)
        }
      })
    },
  )

  it('goes the long way only from the first page that the short way refuses', () => {
    withMemory(() => {
      const first = firstPage(region('neighbours'))
      copied(memory, planOfRuns([[first, 16]]), 0, 16)
      expect(memory.forcedPages).toBe(0)
      const mixed = planOfRuns([
        [first, 16],
        [firstPage(region('prot-none')), 16],
      ])
      copied(memory, mixed, 0, 32)
      expect(memory.forcedPages).toBe(16)
    })
  })

  it('is copied right where there are many more runs than one call takes', () => {
    withMemory(() => {
      const pages = expectedPages(victim.pid).required.filter((_, index) => index % 2 === 0)
      const runs = runsOfPages(pages)
      expect(runs.length).toBeGreaterThan(2 * 1024)
      const bytes = copied(memory, planOfRuns(runs), 0, pages.length)
      expect(wrongPages(victim.pid, pages, bytes)).toEqual([])
    })
  })

  it.each(['read-only', 'prot-none'])('leaves what lies behind the copied pages alone: %s', (name) => {
    withMemory(() => {
      withOwnPages(3, (address) => {
        const page = firstPage(region(name))
        memory.copyPages(planOfRuns([[page, 16]]), 3, 5, address)
        expect(ownBytes(address + PAGE, PAGE).equals(pageContent(page + 4, 1))).toBe(true)
        expect(ownBytes(address + 2 * PAGE, PAGE).equals(Buffer.alloc(PAGE))).toBe(true)
      })
    })
  })

  it('names the one page of a range that cannot be read', () => {
    withMemory(() => {
      const guarded = firstPage(region('guarded'))
      const plan = planOfRuns([
        [firstPage(region('read-only')), 16],
        [guarded, 64],
      ])
      withOwnPages(80, (address) => {
        const vaddr = `0x${((guarded + 16) * PAGE).toString(16)}`
        const details = { pid: victim.pid, vaddr }
        const failing = (): void => memory.copyPages(plan, 0, 80, address)
        expect(failing).toThrow(expect.objectContaining({ code: 'UNREADABLE_PAGE', details }))
        expect(ownBytes(address + 16 * PAGE, PAGE).equals(pageContent(guarded, 1))).toBe(true)
      })
    })
  })

  it('names an unmapped page, also where it is the first and where it is the last', () => {
    withMemory(() => {
      const end = firstPage(region('low-page')) + 1
      const last = planOfRuns([[end - 1, 2]])
      const first = planOfRuns([[end, 1]])
      const expected = expect.objectContaining({
        code: 'UNREADABLE_PAGE',
        details: { pid: victim.pid, vaddr: `0x${(end * PAGE).toString(16)}` },
      })
      withOwnPages(2, (address) => {
        expect(() => memory.copyPages(last, 0, 2, address)).toThrow(expected)
        expect(() => memory.copyPages(first, 0, 1, address)).toThrow(expected)
      })
    })
  })

  itIf(kernelAtLeast(6, 13), 'guard pages need Linux 6.13')('cannot be read where a guard page lies', () => {
    withMemory(() => {
      const guarded = firstPage(region('guarded'))
      const readable = pagesFrom(guarded, 64).filter((page) => memory.isReadable(page))
      expect(readable).toEqual([...pagesFrom(guarded, 16), ...pagesFrom(guarded + 32, 32)])
    })
  })

  it('tells bytes from anywhere, or nothing where they cannot all be read', () => {
    withMemory(() => {
      const page = firstPage(region('read-only')) + 3
      const content = Buffer.concat([pageContent(page, 1), pageContent(page + 1, 1)])
      expect(memory.readBytes(page * PAGE + 4000, 200)).toEqual(content.subarray(4000, 4200))
      const end = firstPage(region('low-page')) + 1
      expect(memory.readBytes(end * PAGE - 8, 16)).toBeUndefined()
      expect(memory.readBytes(end * PAGE, 1)).toBeUndefined()
    })
  })
})

describe('rewriting bytes by force', () => {
  it.each(['read-only', 'prot-none', 'write-only', 'executable', 'all-rights'])(
    'goes through any protection, and leaves every value as it was: %s',
    async (name) => {
      await withVictim('hard', [], async (victim) => {
        await suspend(victim.pid)
        const region = objectsFact(victim.facts, 'regions').find((each) => each.name === name) ?? {}
        const pages = pagesFrom(firstPage(region), 4)
        const addresses = pages.map((page, index) => page * PAGE + index * 1000)
        expect(forceRewrite(victim.pid, addresses)).toBe(true)
        withProcessPages(victim.pid, (readPage) => {
          for (const page of pages) expect(readPage(page).equals(pageContent(page, 1))).toBe(true)
        })
      })
    },
  )

  it('is refused where nothing is mapped, and is nothing for no address', async () => {
    await withVictim('plain', [], async ({ pid }) => {
      await suspend(pid)
      expect(forceRewrite(pid, [0])).toBe(false)
      expect(forceRewrite(pid, [])).toBe(true)
    })
  })

  itIf(hasSoftDirty(), 'the kernel has no soft-dirty bits')('counts as a write, of those pages alone', () => {
    withMapped(3, (address) => {
      fill(address, 3, 1)
      protectPages(address, 3, PROT.READ)
      writeFileSync('/proc/self/clear_refs', '4')
      expect(forceRewrite(process.pid, [address + 2 * PAGE - 1])).toBe(true)
      expect([0, 1, 2].map((page) => isSoftDirty(address + page * PAGE))).toEqual([false, true, false])
      expect(ownBytes(address + PAGE, PAGE).equals(pageContent(address / PAGE + 1, 1))).toBe(true)
    })
  })
})

describe('the memory of a target that has died', () => {
  it('cannot be copied: TARGET_DIED, when it was alive at first and when it never was', async () => {
    const died = expect.objectContaining({ code: 'TARGET_DIED' })
    await withVictim('plain', [], async ({ pid, facts, stop }) => {
      const memory = new TargetMemory(pid, pid)
      const first = firstPage(facts)
      try {
        memory.open()
        await stop()
        withOwnPages(4, (address) => {
          expect(() => memory.copyPages(planOfRuns([[first, 4]]), 0, 4, address)).toThrow(died)
        })
        expect(memory.readBytes(first * PAGE, 8)).toBeUndefined()
      } finally {
        memory.close()
      }
      expect(() => new TargetMemory(pid, pid).open()).toThrow(died)
    })
  })

  it('is not taken for unreadable pages', async () => {
    await withVictim('plain', [], async ({ pid, facts, stop }) => {
      const memory = new TargetMemory(pid, pid)
      try {
        expect(memory.isReadable(firstPage(facts))).toBe(true)
        await stop()
        expect(() => memory.isReadable(firstPage(facts))).toThrow(
          expect.objectContaining({ code: 'TARGET_DIED' }),
        )
      } finally {
        memory.close()
      }
    })
  })
})

describe('the memory of a target whose main thread has ended', () => {
  it('is copied by way of another thread', async () => {
    await withVictim('zombie-leader', ['--pages', '32'], async ({ pid, facts }) => {
      await suspend(pid)
      const tids = facts.tids
      const tid = Array.isArray(tids) ? Number(tids.find((each) => each !== pid)) : NaN
      const memory = new TargetMemory(pid, tid)
      try {
        const bytes = copied(memory, planOfRuns([[firstPage(facts), 32]]), 0, 32)
        const pages = pagesFrom(firstPage(facts), 32)
        expect(Buffer.concat(pages.map((page) => pageContent(page, 1))).equals(bytes)).toBe(true)
      } finally {
        memory.close()
      }
    })
  })
})
