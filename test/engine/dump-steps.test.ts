/** The tool is killed after each step of a dump: the target runs on, and the next increment is right. */
import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, it, jest } from '@jest/globals'
import { DUMP_STEPS } from '../../src/engine/options.js'
import { dump } from '../../src/index.js'
import { probeKernel } from '../../src/kernel/features.js'
import { expectChainEqualsProcess } from '../support/chain-oracle.js'
import { describeIf, kernelAtLeast } from '../support/privileges.js'
import { childrenOf, sendSignal, twinsOf, waitUntil } from '../support/processes.js'
import { withTempDir } from '../support/tool.js'
import { expectUnharmed } from '../support/unharmed.js'
import { withVictim, withoutNodeOptions } from '../support/victim.js'

jest.setTimeout(240_000)

const KILLER = fileURLToPath(new URL('step-killer.js', import.meta.url))
/** Before the target stands both kinds are the same; the content tracker has no interval. */
const FIRST: Readonly<Record<string, number>> = {
  'dump uffd-wp copy': 0,
  'dump uffd-wp fork': DUMP_STEPS.indexOf('held'),
  'pre-dump uffd-wp copy': DUMP_STEPS.indexOf('scanned'),
}
const CONTENT_STEPS: readonly string[] = ['captured', 'pages finished', 'pages written', 'published']

describeIf(kernelAtLeast(6, 7) && probeKernel().pagemapScan, 'uffd-wp needs Linux 6.7')(
  'a dump killed after a step',
  () => {
    it.each([
      ['dump', 'uffd-wp', 'copy'],
      ['dump', 'uffd-wp', 'fork'],
      ['pre-dump', 'uffd-wp', 'copy'],
      ['dump', 'content', 'copy'],
    ] as const)(
      'leaves the target running and the next increment right: %s by %s, %s',
      async (kind, tracker, capture) => {
        await withTempDir(async (folder) => {
          await withVictim('plain', ['--vmas', '8', '--pages-per-vma', '64', '--gap'], async (victim) => {
            const common = { pid: victim.pid, tracker, sync: false } as const
            await dump({ ...common, imagesDir: join(folder, '0'), trackMem: true })
            let last = '0'
            const full: string[] = []
            const steps = DUMP_STEPS.filter((step) => kind === 'pre-dump' || step !== 'looked again')
            for (const [index, step] of steps.entries()) {
              const isTried =
                tracker === 'content'
                  ? CONTENT_STEPS.includes(step)
                  : index >= (FIRST[`${kind} ${tracker} ${capture}`] ?? 0)
              if (!isTried) continue
              await victim.request(`write 12 ${String(index + 10)}`)
              const killed = join(folder, `killed-${String(index)}`)
              const run = spawnSync(
                process.execPath,
                [KILLER, String(victim.pid), killed, `../${last}`, kind, tracker, capture, step],
                { env: withoutNodeOptions() },
              )
              expect([step, run.signal, run.stderr.toString()]).toEqual([step, 'SIGKILL', ''])
              await expectUnharmed(victim)
              await waitUntil('no twin to run', () => twinsOf(victim.pid).length === 0)
              await victim.request(`write 9 ${String(index + 50)}`)
              const parent = existsSync(join(killed, 'tidemark.json')) ? `killed-${String(index)}` : last
              last = `next-${String(index)}`
              const next = join(folder, last)
              const result = await dump({
                ...common,
                imagesDir: next,
                prevImagesDir: `../${parent}`,
                leaveStopped: true,
              })
              const counts = expectChainEqualsProcess(next, victim.pid)
              expect([step, counts.holes]).toEqual([step, result.pagesInParent])
              if (result.fullBecause !== '') full.push(step)
              expect(childrenOf(victim.pid)).toEqual([])
              sendSignal(victim.pid, 'SIGCONT')
            }
            // After the record, and until the snapshot exists, the interval is lost; before and after it is not.
            const from = steps.indexOf('recorded')
            const lost = tracker === 'content' ? [] : steps.slice(from, steps.indexOf('published'))
            expect(full).toEqual(lost)
          })
        })
      },
    )
  },
)
