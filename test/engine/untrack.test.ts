/** Tracking taken off: no descriptor, no registered VMA, however the runs before it ended. */
import { spawnSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, it } from '@jest/globals'
import { runtimeDirectory } from '../../src/engine/interval-record.js'
import { codeOf, dump, untrack, verify, type DumpResult } from '../../src/index.js'
import { probeKernel } from '../../src/kernel/features.js'
import { isFacts, numberFact, stringFact, type Facts } from '../support/facts.js'
import {
  descriptorsOf,
  expectUntracked,
  kernelUser,
  NO_KERNEL_USER,
  watchedVmas,
} from '../support/kernel-user.js'
import { describeIf, kernelAtLeast } from '../support/privileges.js'
import { taskStates, waitUntil } from '../support/processes.js'
import { hasCompiler } from '../support/self-checking.js'
import { runTool, startTool, withTempDir } from '../support/tool.js'
import { expectUnharmed } from '../support/unharmed.js'
import { withoutNodeOptions, type Victim } from '../support/victim.js'

const KILLER = fileURLToPath(new URL('step-killer.js', import.meta.url))
/** O_CLOEXEC, O_NONBLOCK, UFFD_USER_MODE_ONLY: how Tidemark opens one. */
const OUR_FLAGS = 0o2004001

const run = kernelUser()

async function withScene(
  args: readonly string[],
  use: (victim: Victim, folder: string) => Promise<void>,
): Promise<void> {
  await withTempDir(async (folder) => {
    await run(args, (victim) => use(victim, folder))
  })
}

function take(pid: number, folder: string, name: string, parent?: string): Promise<DumpResult> {
  const common = {
    pid,
    imagesDir: join(folder, name),
    tracker: 'uffd-wp',
    sync: false,
    trackMem: true,
  } as const
  return dump(parent === undefined ? common : { ...common, prevImagesDir: `../${parent}` })
}

/** Begins a first dump in a process of its own, which kills itself at `step`. */
function killAt(step: string, pid: number, imagesDir: string): void {
  const words = [KILLER, String(pid), imagesDir, '', 'dump', 'uffd-wp', 'copy', step]
  const { signal, stderr } = spawnSync(process.execPath, words, { env: withoutNodeOptions() })
  expect([signal, stderr.toString()]).toEqual(['SIGKILL', ''])
}

function userfaultfds(tid: number): string[] {
  return descriptorsOf(tid).filter((line) => line.includes('userfaultfd'))
}

/** Writes the note that a run leaves which is killed while it opens a userfaultfd in the process of snapshot `folder`. */
function leaveNote(folder: string): void {
  const manifest: unknown = JSON.parse(readFileSync(join(folder, 'tidemark.json'), 'utf8'))
  if (!isFacts(manifest) || !isFacts(manifest.target)) throw new Error('no manifest')
  const target: Facts = manifest.target
  const { bootId, auxRandom } = {
    bootId: stringFact(target, 'bootId'),
    auxRandom: stringFact(target, 'auxRandom'),
  }
  const name = `${numberFact(target, 'pid')}-${numberFact(target, 'startTimeTicks')}.uffd`
  writeFileSync(join(runtimeDirectory(), name), JSON.stringify({ bootId, auxRandom, before: [] }))
}

describeIf(
  hasCompiler && kernelAtLeast(6, 7) && probeKernel().pagemapScan,
  `${NO_KERNEL_USER} and Linux 6.7`,
)('untrack', () => {
  it('leaves nothing though a forked child holds the descriptor too', async () => {
    await withScene([], async (victim, folder) => {
      const { pid } = victim
      const { warnings } = await take(pid, folder, '1')
      expect(warnings.join('\n')).toMatch(/one more descriptor.*huge page is split.*one VMA more.*untrack/)
      const child = numberFact(await victim.request('fork'), 'child')
      expect([userfaultfds(pid).length, watchedVmas(pid).length > 3]).toEqual([1, true])
      expect(await untrack({ pid })).toEqual({ pid, record: true, userfaultfd: true })
      expectUntracked(pid)
      expect(userfaultfds(child)).toHaveLength(1)
      expect((await take(pid, folder, '2', '1')).fullBecause).toContain('no record')
      await untrack({ pid })
      expectUntracked(pid)
      await expectUnharmed(victim)
    })
  })

  it('leaves nothing where first dumps were killed before their record', async () => {
    await withScene([], async (victim, folder) => {
      const { pid } = victim
      for (const name of ['1', '2']) {
        killAt('tracking begun', pid, join(folder, name))
        // The second run has closed what the first one left.
        expect(userfaultfds(pid)).toHaveLength(1)
      }
      const { stdout } = await runTool(['untrack', '-t', String(pid)])
      expect(stdout).toContain(`process ${pid} is no longer tracked, its userfaultfd closed`)
      expectUntracked(pid)
      expect(await untrack({ pid })).toEqual({ pid, record: false, userfaultfd: false })
      await expectUnharmed(victim)
    })
  })

  it('leaves nothing where a first dump was killed after its record', async () => {
    await withScene([], async (victim, folder) => {
      killAt('reset', victim.pid, join(folder, '1'))
      expect(await untrack({ pid: victim.pid })).toMatchObject({ record: true, userfaultfd: true })
      expectUntracked(victim.pid)
    })
  })

  it('leaves nothing wherever a run is killed that has just opened it', async () => {
    await withScene([], async (victim, folder) => {
      const { pid } = victim
      for (const name of ['1', '2', '3']) {
        const words = ['-t', String(pid), '-D', join(folder, name), '--track-mem', '--tracker', 'uffd-wp']
        const tool = startTool(['dump', ...words, '--no-sync', '--quiet'])
        // Without a turn of the event loop in between: the target stands for some milliseconds only.
        for (const end = Date.now() + 20_000; userfaultfds(pid).length === 0 && Date.now() < end;);
        tool.kill('SIGKILL')
        await tool.finished
        expect(await untrack({ pid })).toMatchObject({ userfaultfd: true })
        expectUntracked(pid)
      }
      await expectUnharmed(victim)
    })
  })

  it('is done by the next dump, of whatever kind, for what looks like ours, and not for the others', async () => {
    await withScene([], async (victim, folder) => {
      const { pid } = victim
      await dump({ pid, imagesDir: join(folder, '1'), sync: false })
      await victim.request(`unwatched ${OUR_FLAGS}`)
      const theirs = numberFact(await victim.request('unwatched'), 'fd')
      leaveNote(join(folder, '1'))
      await dump({ pid, imagesDir: join(folder, '2'), sync: false })
      expect(userfaultfds(pid)).toEqual([`${theirs} anon_inode:[userfaultfd]`])
      expect(await untrack({ pid })).toMatchObject({ userfaultfd: false })
      expect(userfaultfds(pid)).toHaveLength(1)
    })
  })
})

describeIf(
  hasCompiler && kernelAtLeast(6, 9) && probeKernel().pagemapScan,
  `${NO_KERNEL_USER} and Linux 6.9`,
)('a process whose main thread has ended', () => {
  it('goes on being tracked, and untrack says so where it cannot end that', async () => {
    await withScene(['led'], async (victim, folder) => {
      const { pid } = victim
      await take(pid, folder, '1')
      await victim.request('leave')
      await waitUntil('the main thread to end', () => taskStates(pid).get(pid) === 'Z')
      const tid = [...taskStates(pid).keys()].find((thread) => thread !== pid) ?? 0
      await victim.request('write 10')
      const second = await take(pid, folder, '2', '1')
      expect([second.tracker?.name, second.fullBecause, second.pagesInParent > 200]).toEqual([
        'uffd-wp',
        '',
        true,
      ])
      expect((await verify(join(folder, '2'), { pid })).problems).toEqual([])
      expect(userfaultfds(tid)).toHaveLength(1)
      // A frame with AVX-512 has room on the main stack only, and in the main thread's hands.
      const outcome = await untrack({ pid }).catch(codeOf)
      const isClosed = userfaultfds(tid).length === 0
      expect(outcome).toEqual(isClosed ? { pid, record: true, userfaultfd: true } : 'INJECTION_REFUSED')
      expect(watchedVmas(tid)).toEqual([])
      expect((await victim.request('ping')).pong).toBe(true)
    })
  })

  it('is compared with its parent where it has an io_uring', async () => {
    await withScene(['leaderless'], async (victim, folder) => {
      await victim.request('ring')
      const { tracker } = await dump({
        pid: victim.pid,
        imagesDir: join(folder, '1'),
        trackMem: true,
        sync: false,
      })
      expect(tracker?.name).toBe('content')
    })
  })
})
