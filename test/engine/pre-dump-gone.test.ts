import { join } from 'node:path'
import { expect, it } from '@jest/globals'
import { takeSnapshot } from '../../src/engine/dump.js'
import { settle } from '../../src/engine/options.js'
import { firstPage, pagesFrom, residentKib, within } from '../support/pages.js'
import { storedPages, withSnapshot } from '../support/snapshots.js'
import { withTempDir } from '../support/tool.js'
import { withVictim } from '../support/victim.js'

const PAGES = 1000

it('a pre-dump stores no page that was discarded after the process stood', async () => {
  await withTempDir(async (directory) => {
    await withVictim('plain', ['--vmas', '1', '--pages-per-vma', String(PAGES)], async (victim) => {
      const imagesDir = join(directory, 'images')
      // Every 20th page is discarded before the look at what is there, every fifth before the copy.
      const counts: Readonly<Record<string, number>> = { thawed: 50, 'looked again': 200 }
      const answers: Promise<unknown>[] = []
      const result = await takeSnapshot({
        ...settle({ pid: victim.pid, imagesDir, tracker: 'content', sync: false }, 'pre-dump'),
        onStep: (step) => {
          const count = counts[step]
          if (count === undefined) return
          answers.push(victim.request(`discard ${String(count)}`))
          while (residentKib(victim.pid, victim.facts) > (PAGES - count) * 4) continue
        },
      })
      await Promise.all(answers)
      expect(answers).toHaveLength(2)
      const region = { ...victim.facts, pages: PAGES }
      const stored = withSnapshot(imagesDir, ({ images }) => within(storedPages(images), region))
      const kept = pagesFrom(firstPage(victim.facts), PAGES).filter((_, index) => index % 5 !== 0)
      expect(stored).toEqual(kept)
      expect(result.pagesGone).toBeGreaterThanOrEqual(200)
    })
  })
})
