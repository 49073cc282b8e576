/** Programs that use userfaultfd themselves, or in which none can be opened: nothing of theirs is touched. */
import { join } from 'node:path'
import { expect, it } from '@jest/globals'
import { takeSnapshot } from '../../src/engine/dump.js'
import { DUMP_STEPS, settle, type DumpStep } from '../../src/engine/options.js'
import { dump, preDump, untrack } from '../../src/index.js'
import { probeKernel } from '../../src/kernel/features.js'
import { expectChainEqualsProcess } from '../support/chain-oracle.js'
import { numberFact } from '../support/facts.js'
import {
  descriptorsOf,
  expectUntracked,
  NO_KERNEL_USER,
  watchedVmas,
  kernelUser,
} from '../support/kernel-user.js'
import { describeIf, kernelAtLeast } from '../support/privileges.js'
import { sendSignal } from '../support/processes.js'
import { hasCompiler } from '../support/self-checking.js'
import { withTempDir } from '../support/tool.js'
import { expectUnharmed } from '../support/unharmed.js'
import type { Victim } from '../support/victim.js'

const works = hasCompiler && kernelAtLeast(6, 7) && probeKernel().pagemapScan

const run = kernelUser()

async function withScene(use: (victim: Victim, folder: string) => Promise<void>): Promise<void> {
  await withTempDir(async (folder) => {
    await run([], (victim) => use(victim, folder))
  })
}

function stateOf({ pid }: Victim): unknown {
  return { vmas: watchedVmas(pid), descriptors: descriptorsOf(pid) }
}

describeIf(works, `${NO_KERNEL_USER} and Linux 6.7`)('a program with a userfaultfd of its own', () => {
  it.each(['async', 'sync', 'missing'])('keeps it, its VMAs and its bits: mode %s', async (mode) => {
    await withScene(async (victim, folder) => {
      const { pid } = victim
      await victim.request(`own ${mode}`)
      if (mode === 'async') await victim.request('touch 10')
      const before = stateOf(victim)
      const common = { pid, sync: false, trackMem: true } as const
      await expect(
        dump({ ...common, tracker: 'uffd-wp', imagesDir: join(folder, 'refused') }),
      ).rejects.toMatchObject({ code: 'TRACKER_UNAVAILABLE' })
      const first = await dump({ ...common, imagesDir: join(folder, '1') })
      expect(first.tracker?.name).toBe('content')
      expect(stateOf(victim)).toEqual(before)
      if (mode === 'async') expect(await victim.request('written')).toEqual({ pages: 10 })
      expect(await untrack({ pid })).toMatchObject({ userfaultfd: false })
      expect(stateOf(victim)).toEqual(before)
      await expectUnharmed(victim)
    })
  })

  it('is not forked where that would wait for a reader of it', async () => {
    await withScene(async ({ pid, request }, folder) => {
      await request('own forks')
      const { capture } = await dump({ pid, imagesDir: join(folder, '1'), sync: false, capture: 'fork' })
      expect(capture).toEqual({ method: 'copy', why: 'it has a userfaultfd that is told of each fork' })
      expect(await request('ping')).toEqual({ pong: true })
    })
  })

  it('keeps it though it watches nothing yet', async () => {
    await withScene(async (victim, folder) => {
      await victim.request('unwatched')
      const before = stateOf(victim)
      const result = await preDump({ pid: victim.pid, imagesDir: join(folder, '1'), sync: false })
      expect(result.tracker?.name).toBe('content')
      expect(stateOf(victim)).toEqual(before)
    })
  })

  it('keeps it where we see it too late, behind many descriptors: ours is taken off again', async () => {
    await withScene(async ({ pid, request }, folder) => {
      await request('open 200')
      const settings = settle({ pid, imagesDir: join(folder, '1'), trackMem: true, sync: false }, 'dump')
      const result = await takeSnapshot({
        ...settings,
        onStep: (step) => {
          if (step !== 'staging ready' || watchedVmas(pid).length > 0) return
          sendSignal(pid, 'SIGUSR2')
          while (watchedVmas(pid).length === 0);
        },
      })
      expect(result.tracker).toEqual({ name: 'content', why: expect.stringContaining('userfaultfd itself') })
      expect(watchedVmas(pid)).toHaveLength(1)
      expect(descriptorsOf(pid).filter((line) => line.includes('userfaultfd'))).toHaveLength(1)
      expect(await request('written')).toEqual({ pages: 0 })
      await request('touch 10')
      expect(await request('written')).toEqual({ pages: 10 })
      expect(await untrack({ pid })).toEqual({ pid, record: false, userfaultfd: false })
    })
  })

  it('gets content, right, where it begins to use it after it was tracked', async () => {
    await withScene(async (victim, folder) => {
      const { pid } = victim
      const take = (name: string, parent?: string): ReturnType<typeof dump> =>
        dump({
          ...{ pid, sync: false, trackMem: true, imagesDir: join(folder, name) },
          ...(parent === undefined ? {} : { prevImagesDir: `../${parent}`, leaveStopped: true }),
        })
      expect((await take('1')).tracker?.name).toBe('uffd-wp')
      const fd = numberFact(await victim.request('own async'), 'fd')
      await victim.request('touch 10')
      const second = await take('2', '1')
      expect([second.tracker?.name, second.fullBecause]).toEqual(['content', ''])
      expect(expectChainEqualsProcess(join(folder, '2'), pid).holes).toBe(second.pagesInParent)
      sendSignal(pid, 'SIGCONT')
      expect(await victim.request('written')).toEqual({ pages: 10 })
      expect(await untrack({ pid })).toMatchObject({ userfaultfd: true })
      expect(descriptorsOf(pid).filter((line) => line.includes('userfaultfd'))).toEqual([
        `${fd} anon_inode:[userfaultfd]`,
      ])
      expect([watchedVmas(pid).length, await victim.request('written')]).toEqual([1, { pages: 10 }])
    })
  })
})

describeIf(works, `${NO_KERNEL_USER} and Linux 6.7`)('a dump that fails', () => {
  const steps = DUMP_STEPS.slice(DUMP_STEPS.indexOf('tracking begun'), DUMP_STEPS.indexOf('thawed'))

  it('takes off the tracking that it has begun, at whatever step of the window', async () => {
    await withScene(async (victim, folder) => {
      const { pid } = victim
      await victim.request('fork')
      for (const failing of steps) {
        const settings = settle(
          { pid, imagesDir: join(folder, failing), trackMem: true, tracker: 'uffd-wp', sync: false },
          'dump',
        )
        const onStep = (step: DumpStep): void => {
          if (step === failing) throw new Error('as the test wants it')
        }
        await expect(takeSnapshot({ ...settings, onStep })).rejects.toThrow('as the test wants it')
        expectUntracked(pid)
      }
      expect(await untrack({ pid })).toMatchObject({ record: false, userfaultfd: false })
      await expectUnharmed(victim)
    })
  })

  it('is taken by content where the process may open no descriptor', async () => {
    await withScene(async (victim, folder) => {
      const { pid } = victim
      await victim.request('limit 3')
      const common = { pid, trackMem: true, sync: false } as const
      const refused = dump({ ...common, imagesDir: join(folder, '1'), tracker: 'uffd-wp' })
      await expect(refused).rejects.toMatchObject({
        code: 'TRACKER_UNAVAILABLE',
        message: expect.stringContaining('EMFILE'),
      })
      const { tracker } = await dump({ ...common, imagesDir: join(folder, '2') })
      expect([tracker?.name, tracker?.why]).toEqual(['content', expect.stringContaining('EMFILE')])
      expectUntracked(pid)
    })
  })
})
