/** Processes that use userfaultfd themselves: what they protect without ever touching it is no page. */
import { spawnSync } from 'node:child_process'
import { chownSync } from 'node:fs'
import { join } from 'node:path'
import { expect, it } from '@jest/globals'
import { numberFact } from '../support/facts.js'
import { firstPage, pagesFrom, pagesUnlike, residentKib, within } from '../support/pages.js'
import { describeIf, isRoot, itIf, kernelAtLeast, NOBODY } from '../support/privileges.js'
import { dumpResult, storedPages, withSnapshot } from '../support/snapshots.js'
import { runTool, TOOL_PATH, type ToolOptions, withTempDir } from '../support/tool.js'
import { expectUnharmed } from '../support/unharmed.js'
import { type Victim, withVictim } from '../support/victim.js'

const othersCanRun =
  isRoot && spawnSync(process.execPath, [TOOL_PATH, '--version'], { uid: NOBODY, gid: NOBODY }).status === 0
/** A command that waits for a page that never comes is killed, and the test fails. */
const PATIENT = { timeoutMs: 30_000 }

function filledPages({ facts }: Victim): number[] {
  const stride = numberFact(facts, 'stride')
  return pagesFrom(0, numberFact(facts, 'filled')).map((index) => firstPage(facts) + index * stride)
}

/** Dumps the victim, and fails unless exactly its filled pages are stored and it has no more pages than before. */
async function expectFilledOnly(victim: Victim, directory: string, options: ToolOptions): Promise<void> {
  const before = residentKib(victim.pid, victim.facts)
  for (const words of [[], ['--capture', 'fork']]) {
    const images = join(directory, String(words.length))
    await dumpResult(victim.pid, images, words, { ...options, ...PATIENT })
    const stored = withSnapshot(images, ({ images: read }) => within(storedPages(read), victim.facts))
    expect(stored).toEqual(filledPages(victim))
    expect(residentKib(victim.pid, victim.facts)).toBe(before)
  }
  expect(pagesUnlike(victim.pid, filledPages(victim), numberFact(victim.facts, 'seed'))).toEqual([])
  await expectUnharmed(victim)
}

describeIf(kernelAtLeast(6, 4), 'protection of what was never touched needs Linux 6.4')(
  'a dump of memory that its process watches',
  () => {
    it.each([
      ['for writes', ['--pages', '200000']],
      ['for missing pages too, which nobody provides,', ['--missing']],
    ])('%s stores its pages, and touches no other', async (_, args) => {
      await withTempDir(async (directory) => {
        await withVictim('watched', args, (victim) => expectFilledOnly(victim, directory, {}))
      })
    })

    itIf(othersCanRun, 'needs root, and a checkout that other users can read')(
      'does so for a user whom the kernel does not tell what is in swap',
      async () => {
        await withTempDir(async (directory) => {
          chownSync(directory, NOBODY, NOBODY)
          const options = { uid: NOBODY, cwd: '/' }
          await withVictim('watched', [], (victim) => expectFilledOnly(victim, directory, options), {
            uid: NOBODY,
          })
        })
      },
    )

    it('is explained without reading such a page', async () => {
      await withVictim('watched', ['--missing'], async ({ pid, facts }) => {
        const page = (index: number): string => ((firstPage(facts) + index) * 4096).toString(16)
        const run = await runTool(['explain', '-t', String(pid), '--vaddr', page(1), '--json'], PATIENT)
        expect(run).toMatchObject({ status: 0, stdout: expect.stringContaining('"stored":false') })
        const filled = await runTool(['explain', '-t', String(pid), '--vaddr', page(3), '--json'], PATIENT)
        expect(filled).toMatchObject({ status: 0, stdout: expect.stringContaining('"stored":true') })
      })
    })
  },
)
