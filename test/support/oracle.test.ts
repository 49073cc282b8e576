import { describe, expect, it } from '@jest/globals'
import { listFact, objectsFact } from './facts.js'
import { pageSize } from './kernel-vmas.js'
import { compareWithProcess, expectedPages, withProcessPages } from './oracle.js'
import { firstPage, storedPagesOf, within } from './pages.js'
import { isRoot } from './privileges.js'
import { suspend } from './processes.js'
import { withVictim } from './victim.js'

describe('the oracle', () => {
  it('finds in each region of the hard victim what its facts say', async () => {
    await withVictim('hard', [], async ({ pid, facts }) => {
      await suspend(pid)
      const { required, optional } = expectedPages(pid)
      for (const missing of listFact(facts, 'missing')) {
        process.stderr.write(`this machine lacks ${String(missing)}\n`)
      }
      for (const region of objectsFact(facts, 'regions')) {
        if (region.expect === 'either') continue
        const stored = storedPagesOf(region)
        const found = within(required, region)
        const doubtful = new Set(isRoot ? within(optional, region) : zeroPages(pid, found))
        const certain = found.filter((page) => !doubtful.has(page) || stored.includes(page))
        expect([region.name, certain]).toEqual([region.name, stored])
      }
    })
  })

  it('accepts a true snapshot and names what is wrong, missing or too much', async () => {
    await withVictim('hard', [], async ({ pid, facts }) => {
      await suspend(pid)
      const { required, optional } = expectedPages(pid)
      withProcessPages(pid, (readPage) => {
        const right = compareWithProcess(pid, { storedPages: () => required, readPage })
        expect(right).toEqual({ compared: required.length, differing: [], missing: [], extra: [] })

        const untouched = firstPage(
          objectsFact(facts, 'regions').find((region) => region.name === 'untouched') ?? {},
        )
        const [wrong = 0, absent = 0, ...others] = required
        const wrongContent = Buffer.alloc(pageSize(), 0xa5)
        const found = compareWithProcess(pid, {
          storedPages: () => [wrong, ...others, ...optional, untouched],
          readPage: (page) => (page === wrong ? wrongContent : readPage(page)),
        })
        expect(found).toEqual({
          compared: required.length - 1 + optional.size,
          differing: [wrong],
          missing: [absent],
          extra: [untouched],
        })
      })
    })
  })
})

/** Those of `pages` that are all zeros: without CAP_SYS_ADMIN the oracle cannot tell the zero page from others. */
function zeroPages(pid: number, pages: readonly number[]): number[] {
  const zeros = Buffer.alloc(pageSize())
  return withProcessPages(pid, (readPage) => pages.filter((page) => readPage(page).equals(zeros)))
}
