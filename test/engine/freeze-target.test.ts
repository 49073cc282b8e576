import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from '@jest/globals'
import { takeSnapshot } from '../../src/engine/dump.js'
import { withFrozenTarget } from '../../src/engine/freeze-target.js'
import { Freezer } from '../../src/engine/freezer.js'
import { settle, type DumpSettings } from '../../src/engine/options.js'
import { sharedMemory } from '../../src/kernel/mm-sharing.js'
import { numberFact } from '../support/facts.js'
import { isRoot, itIf } from '../support/privileges.js'
import { isStopped, suspend, taskStates, waitUntil } from '../support/processes.js'
import { expectError } from '../support/refusals.js'
import { dumpResult, expectSameMemory, runDump } from '../support/snapshots.js'
import { withTempDir } from '../support/tool.js'
import { whileTraced } from '../support/tracer.js'
import { expectRunning, expectUnharmed, tracersOf } from '../support/unharmed.js'
import { type Victim, withVictim } from '../support/victim.js'

const FREEZER_V1 = '/sys/fs/cgroup/freezer'
const UNIFIED = ['/sys/fs/cgroup/unified', '/sys/fs/cgroup'].find((path) =>
  existsSync(join(path, 'cgroup.controllers')),
)

function settingsFor(pid: number, more: Partial<DumpSettings> = {}): DumpSettings {
  return { ...settle({ pid, imagesDir: '/nonexistent' }, 'dump'), ...more }
}

/** Runs `use` with the victim in a new cgroup below `root`, and ends the victim before the cgroup is removed. */
async function inCgroup(root: string, victim: Victim, use: (folder: string) => Promise<void>): Promise<void> {
  const folder = join(root, `tidemark-test-${String(process.pid)}`)
  mkdirSync(folder)
  try {
    writeFileSync(join(folder, 'cgroup.procs'), String(victim.pid))
    await use(folder)
  } finally {
    const thaw = [
      ['freezer.state', 'THAWED'],
      ['cgroup.freeze', '0'],
    ] as const
    for (const [file, value] of thaw) {
      if (existsSync(join(folder, file))) writeFileSync(join(folder, file), value)
    }
    await victim.stop()
    await waitUntil('the cgroup to empty', () => readFileSync(join(folder, 'cgroup.procs'), 'utf8') === '')
    rmdirSync(folder)
  }
}

describe('a target that stands already', () => {
  it('by SIGSTOP is dumped and stays stopped', async () => {
    await withTempDir(async (directory) => {
      await withVictim('threads', ['--threads', '10', '--spin', '1'], async ({ pid }) => {
        await suspend(pid)
        const states = taskStates(pid)
        for (const words of [[], ['--leave-running'], ['--leave-stopped']]) {
          const images = join(directory, words.join('') || 'plain')
          await dumpResult(pid, images, words)
          await waitUntil('the threads to be back in their stop', () => !hasTraced(pid))
          expect(taskStates(pid)).toEqual(states)
          expect(tracersOf(pid)).toEqual([])
          expectSameMemory(pid, images)
        }
      })
    })
  })

  itIf(isRoot && existsSync(FREEZER_V1), 'needs root and the freezer of cgroup version 1')(
    'by a cgroup of version 1 is dumped right and stays frozen',
    async () => {
      await expectFrozenDump(FREEZER_V1, async (folder) => {
        const state = join(folder, 'freezer.state')
        writeFileSync(state, 'FROZEN')
        await waitUntil('the cgroup to freeze', () => readFileSync(state, 'utf8') === 'FROZEN\n')
        return {
          isFrozen: () => readFileSync(state, 'utf8') === 'FROZEN\n',
          thaw: () => {
            writeFileSync(state, 'THAWED')
          },
        }
      })
    },
  )

  itIf(isRoot && UNIFIED !== undefined, 'needs root and cgroups of version 2')(
    'by a cgroup of version 2 is dumped right and stays frozen',
    async () => {
      await expectFrozenDump(UNIFIED ?? '', async (folder) => {
        const isFrozen = (): boolean =>
          /^frozen 1$/m.test(readFileSync(join(folder, 'cgroup.events'), 'utf8'))
        writeFileSync(join(folder, 'cgroup.freeze'), '1')
        await waitUntil('the cgroup to freeze', isFrozen)
        return {
          isFrozen,
          thaw: () => {
            writeFileSync(join(folder, 'cgroup.freeze'), '0')
          },
        }
      })
    },
  )

  interface Frost {
    readonly isFrozen: () => boolean
    readonly thaw: () => void
  }

  /** Dumps a victim whose order of writes shows every step that it makes, frozen in a cgroup below `root`. */
  async function expectFrozenDump(root: string, freeze: (folder: string) => Promise<Frost>): Promise<void> {
    await withTempDir(async (directory) => {
      await withVictim('dirty-writer', [], async (victim) => {
        await inCgroup(root, victim, async (folder) => {
          const { isFrozen, thaw } = await freeze(folder)
          for (const [index, words] of [[], ['--max-memory', '0']].entries()) {
            const images = join(directory, String(index))
            await dumpResult(victim.pid, images, words)
            await waitUntil('the cgroup to be frozen again', isFrozen)
            expectSameMemory(victim.pid, images)
          }
          expectSameMemory(victim.pid, join(directory, '0'))
          expect(tracersOf(victim.pid)).toEqual([])
          thaw()
          await expectUnharmed(victim)
          const before = numberFact(await victim.request('rounds'), 'rounds')
          while (numberFact(await victim.request('rounds'), 'rounds') === before) continue
        })
      })
    })
  }
})

describe('a target that does not come to a stand', () => {
  it('since a thread is in vfork is refused, and goes on', async () => {
    await withTempDir(async (directory) => {
      await withVictim('shared-mm', ['--vfork'], async (victim) => {
        const images = join(directory, 'images')
        const line = expectError(await runDump(victim.pid, images, ['--timeout', '0.4']), 'SHARED_MM')
        expect(line).toContain('try again')
        expect(line).not.toContain('end it')
        expect(existsSync(images)).toBe(false)
        await expectStillGoing(victim)
      })
    })
  })

  it('since a thread is in vfork is waited for', async () => {
    await withTempDir(async (directory) => {
      await withVictim('shared-mm', ['--vfork'], async (victim) => {
        let released: Promise<unknown> = Promise.resolve()
        const imagesDir = join(directory, 'images')
        const result = await takeSnapshot({
          ...settingsFor(victim.pid, { imagesDir, capture: 'copy', sync: false }),
          onStep: (step) => {
            if (step === 'staging ready') released = victim.request('release')
          },
        })
        await released
        // The rings of a Node of late.
        expect(result.missing.filter(({ reason }) => reason !== 'kernel-object')).toEqual([])
        await expectUnharmed(victim)
      })
    })
  })

  it('since a tracer has come meanwhile is refused, and the tracer named', async () => {
    await withVictim('threads', ['--threads', '2'], async (victim) => {
      const other = [...taskStates(victim.pid).keys()].find((tid) => tid !== victim.pid) ?? 0
      const first = await Freezer.start()
      await whileTraced(other, async (tracer) => {
        const call = withFrozenTarget(settingsFor(victim.pid), first, undefined, () => undefined)
        await expect(call).rejects.toMatchObject({
          code: 'ALREADY_TRACED',
          message: expect.stringContaining(`traced by process ${String(tracer)} `),
        })
      })
      await expectUnharmed(victim)
    })
  })

  it('since it shares its memory for a moment is tried again', async () => {
    await withVictim('plain', [], async (victim) => {
      const seen: number[] = []
      const call = withFrozenTarget(
        settingsFor(victim.pid),
        await Freezer.start(),
        undefined,
        ({ tries }) => {
          seen.push(tries)
          throw sharedMemory(victim.pid, victim.pid)
        },
      )
      await expect(call).rejects.toMatchObject({ code: 'SHARED_MM', details: { pid: victim.pid } })
      expect(seen).toEqual([1, 2, 3])
      await expectUnharmed(victim)
    })
  })

  it('is let go after three tries, within the timeout', async () => {
    await withVictim('shared-mm', ['--vfork'], async (victim) => {
      let captures = 0
      const call = withFrozenTarget(settingsFor(victim.pid), await Freezer.start(), undefined, () => {
        captures += 1
      })
      await expect(call).rejects.toMatchObject({ code: 'SEIZE_TIMEOUT', details: { pid: victim.pid } })
      expect(captures).toBe(0)
      await expectStillGoing(victim)
    })
  })

  it('at the first try is frozen at a later one', async () => {
    await withVictim('shared-mm', ['--vfork'], async (victim) => {
      const first = await Freezer.start()
      const call = withFrozenTarget(settingsFor(victim.pid), first, undefined, ({ tries, held }) => ({
        tries,
        threads: held.threads.length,
        frozen: [...taskStates(victim.pid).values()].filter((state) => state === 't').length,
      }))
      // The first try blocks this thread until it has failed, so this is heard between two tries.
      const released = victim.request('release')
      const { tries, threads, frozen } = await call
      await released
      expect(tries).toBeGreaterThan(1)
      expect(frozen).toBe(threads)
      expect(threads).toBe(taskStates(victim.pid).size)
      await expectUnharmed(victim)
    })
  })

  async function expectStillGoing(victim: Victim): Promise<void> {
    await expectRunning(victim.pid)
    await expectRunning(numberFact(victim.facts, 'otherPid'))
    await victim.request('release')
    await waitUntil('the thread to leave vfork', () => ![...taskStates(victim.pid).values()].includes('D'))
    await expectUnharmed(victim)
  }
})

describe('a frozen target', () => {
  it('stands in every thread, and goes on when the capture throws', async () => {
    await withVictim('threads', ['--threads', '50', '--spin', '1'], async (victim) => {
      const states: string[] = []
      const call = withFrozenTarget(settingsFor(victim.pid), await Freezer.start(), undefined, () => {
        states.push(...taskStates(victim.pid).values())
        throw new Error('the capture failed')
      })
      await expect(call).rejects.toThrow('the capture failed')
      expect(new Set(states)).toEqual(new Set(['t']))
      expect(states.length).toBeGreaterThan(50)
      await expectUnharmed(victim)
    })
  })

  it('goes on by itself at the deadline while the capture hangs', async () => {
    await withVictim('plain', [], async (victim) => {
      const settings = settingsFor(victim.pid, { maxFrozenMs: 50 })
      const call = withFrozenTarget(settings, await Freezer.start(), undefined, ({ freezer }) => {
        while (isStopped(victim.pid)) continue
        return freezer.thaw(settings.maxFrozenMs)
      })
      await expect(call).rejects.toMatchObject({ code: 'FROZEN_TOO_LONG' })
      await expectUnharmed(victim)
    })
  })
})

function hasTraced(pid: number): boolean {
  return [...taskStates(pid).values()].includes('t')
}
