/** Memory that io_uring has pinned: its reads go past the page tables, and no tracker sees them. */
import { readdirSync, readlinkSync } from 'node:fs'
import { join } from 'node:path'
import { expect, it } from '@jest/globals'
import { takeSnapshot } from '../../src/engine/dump.js'
import { settle } from '../../src/engine/options.js'
import { dump, type DumpResult } from '../../src/index.js'
import { probeKernel } from '../../src/kernel/features.js'
import { expectChainEqualsProcess } from '../support/chain-oracle.js'
import { expectUntracked, kernelUser, NO_KERNEL_USER } from '../support/kernel-user.js'
import { describeIf, hasSoftDirty, kernelAtLeast } from '../support/privileges.js'
import { sendSignal } from '../support/processes.js'
import { hasCompiler } from '../support/self-checking.js'
import { withTempDir } from '../support/tool.js'

const tracker = hasSoftDirty() ? 'soft-dirty' : 'uffd-wp'
const works = hasCompiler && (hasSoftDirty() || (kernelAtLeast(6, 7) && probeKernel().pagemapScan))
const run = kernelUser()

function hasRing(pid: number): boolean {
  const folder = `/proc/${pid}/fd`
  return readdirSync(folder).some((fd) => readlinkSync(join(folder, fd)) === 'anon_inode:[io_uring]')
}

describeIf(works, `${NO_KERNEL_USER} and a tracker`)('an increment of a process with an io_uring', () => {
  it.each([['unregister'], ['close', 'unmap']])(
    'holds what was read past the page tables before the buffers went: %s',
    async (...ends) => {
      await withTempDir(async (folder) => {
        await run([], async ({ pid, request }) => {
          const take = (name: string, parent?: string): Promise<DumpResult> =>
            dump({
              ...{ pid, tracker, trackMem: true, sync: false, imagesDir: join(folder, name) },
              ...(parent === undefined ? {} : { prevImagesDir: `../${parent}`, leaveStopped: true }),
            })
          await request('ring')
          await take('1')
          await request('read')
          for (const end of ends) await request(end)
          const second = await take('2', '1')
          expect(expectChainEqualsProcess(join(folder, '2'), pid).holes).toBeGreaterThan(100)
          sendSignal(pid, 'SIGCONT')
          // They were pinned when the first interval began, not when the second did; of the canary the pages differ.
          // Soft-dirty bits of pinned pages stay by themselves, and it takes time until they are let go.
          const third = await take('3', '2')
          expect(expectChainEqualsProcess(join(folder, '3'), pid).holes).toBeGreaterThan(100)
          if (tracker === 'uffd-wp') expect(second.pagesStored - third.pagesStored).toBeGreaterThan(40)
          sendSignal(pid, 'SIGCONT')
        })
      })
    },
  )

  it('is left to content by auto where the ring is made after the choice', async () => {
    await withTempDir(async (folder) => {
      await run([], async ({ pid, request }) => {
        const settings = settle({ pid, imagesDir: join(folder, '1'), trackMem: true, sync: false }, 'dump')
        const result = await takeSnapshot({
          ...settings,
          onStep: (step) => {
            if (step !== 'staging ready' || hasRing(pid)) return
            process.kill(pid, 'SIGUSR1')
            while (!hasRing(pid));
          },
        })
        expect(result.tracker).toEqual({
          name: 'content',
          why: expect.stringContaining('io_uring may write'),
        })
        expect((await request('ping')).pong).toBe(true)
        expectUntracked(pid)
      })
    })
  })

  it('is left to content by auto where the ring is closed but mapped', async () => {
    await withTempDir(async (folder) => {
      await run([], async ({ pid, request }) => {
        await request('ring')
        await request('close')
        const take = (name: string): Promise<DumpResult> =>
          dump({ pid, imagesDir: join(folder, name), trackMem: true, sync: false })
        expect((await take('1')).tracker).toEqual({
          name: 'content',
          why: expect.stringContaining('io_uring may write'),
        })
        await request('unmap')
        expect((await take('2')).tracker?.name).toBe(tracker)
      })
    })
  })
})
