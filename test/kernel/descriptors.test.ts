import { closeSync, openSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from '@jest/globals'
import {
  listDescriptors,
  NO_DESCRIPTORS,
  pinningName,
  registeredBuffers,
  resurveyDescriptors,
  surveyDescriptors,
  type ByteRange,
} from '../../src/kernel/descriptors.js'
import { numberFact } from '../support/facts.js'
import { describeIf } from '../support/privileges.js'
import { withSleeper } from '../support/shell.js'
import { withVictim, type Victim } from '../support/victim.js'
import { addressOf, systemCall } from '../victims/libc.js'

const SYS_IO_URING_SETUP = 425
const RING_PROGRAM = '../kernel/ring-process'

/** Whether the kernel gives us an io_uring: a build, a sysctl or a seccomp filter may forbid it. */
function hasRings(): boolean {
  try {
    closeSync(systemCall('io_uring_setup', SYS_IO_URING_SETUP, 1, addressOf(Buffer.alloc(120))))
    return true
  } catch {
    return false
  }
}

async function withRing(use: (victim: Victim) => Promise<void> | void): Promise<void> {
  await withVictim(RING_PROGRAM, [], async (victim) => use(victim))
}

function pinnedBy(pid: number): ByteRange[] {
  return registeredBuffers(pid, surveyDescriptors(pid).rings)
}

describe('the descriptors of a process', () => {
  it('are listed with what they lead to', () => {
    const path = fileURLToPath(import.meta.url)
    const fd = openSync(path, 'r')
    try {
      expect(listDescriptors(process.pid)).toContainEqual({ fd, target: path })
    } finally {
      closeSync(fd)
    }
    expect(listDescriptors(process.pid)).not.toContainEqual({ fd, target: path })
  })

  it('are none of a process that is gone', async () => {
    await withVictim('plain', [], async ({ pid, stop }) => {
      await stop()
      expect([listDescriptors(pid), surveyDescriptors(pid), registeredBuffers(pid, [0])]).toEqual([
        [],
        NO_DESCRIPTORS,
        [],
      ])
    })
  })

  it('may pin memory, by their links and by the paths that maps shows of them', () => {
    const names = {
      'anon_inode:[io_uring]': 'io_uring',
      '/dev/nvidia0': 'GPU',
      '/dev/infiniband/uverbs0': 'RDMA',
      '/dev/vfio/7': 'vfio',
      '/[aio] (deleted)': 'AIO',
    }
    const others = [
      '',
      '[heap]',
      '/dev/zero (deleted)',
      '/dev/shm/x',
      'anon_inode:[perf_event]',
      '/lib/io_uring',
    ]
    for (const [path, name] of Object.entries(names)) expect([path, pinningName(path)]).toEqual([path, name])
    expect(others.filter((path) => pinningName(path) !== undefined)).toEqual([])
  })

  it('of an ordinary process pin nothing', async () => {
    await withSleeper(async (pid) => {
      await Promise.resolve()
      expect(listDescriptors(pid).length).toBeGreaterThanOrEqual(3)
      expect([surveyDescriptors(pid).pinning, pinnedBy(pid)]).toEqual([[], []])
    })
  })
})

describeIf(hasRings(), 'the kernel gives us no io_uring')('a process with an io_uring', () => {
  it('may have memory pinned, and has none until it registers a buffer', async () => {
    await withRing(({ pid, facts }) => {
      expect(listDescriptors(pid)).toContainEqual({
        fd: numberFact(facts, 'ring'),
        target: 'anon_inode:[io_uring]',
      })
      expect(surveyDescriptors(pid)).toMatchObject({
        pinning: ['io_uring'],
        rings: expect.arrayContaining([numberFact(facts, 'ring')]),
        userfaultfds: [],
      })
      expect(pinnedBy(pid)).toEqual([])
    })
  })

  it.each([1, 300])('is found to have pinned the buffer that it registered, of %d pages', async (pages) => {
    await withRing(async ({ pid, request }) => {
      const registered = await request(`register ${pages}`)
      expect(pinnedBy(pid)).toEqual([registered])
    })
  })

  it('is seen to have it at the second look, of many descriptors only where its maps show it', async () => {
    await withRing(({ pid }) => {
      const before = { ...NO_DESCRIPTORS, count: 15_000 }
      const { count, ...found } = surveyDescriptors(pid)
      expect(resurveyDescriptors(pid, { ...before, count }, false)).toMatchObject(found)
      expect(resurveyDescriptors(pid, before, true)).toMatchObject(found)
      expect(resurveyDescriptors(pid, before, false)).toBe(before)
    })
  })
})
