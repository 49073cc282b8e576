import { spawnSync } from 'node:child_process'
import { closeSync, openSync, readSync } from 'node:fs'
import { describe, expect, it } from '@jest/globals'
import { SeizedProcess } from '../../src/kernel/seize.js'
import { numberFact, numbersFact } from '../support/facts.js'
import { itIf } from '../support/privileges.js'
import { isGone, resume, suspend, taskStates, waitUntil } from '../support/processes.js'
import { withVictim, type Victim } from '../support/victim.js'
import { withSeizer } from './seizer.js'
import { hasV1Freezer, withFreezer } from './v1-freezer.js'

/** The different states of the live threads of `pid`. */
function states(pid: number): string[] {
  const all = [...taskStates(pid).values()].filter((state) => state !== 'Z' && state !== 'X')
  return [...new Set(all)].sort()
}

function liveThreads(pid: number): number[] {
  return [...taskStates(pid)].flatMap(([tid, state]) => (state === 'Z' || state === 'X' ? [] : [tid]))
}

/** Resolves when no thread is held any more. */
async function untilReleased(pid: number): Promise<void> {
  await waitUntil(`process ${String(pid)} to run`, () => !states(pid).includes('t'))
}

/** The counters of the spinning threads of a `threads` victim, read from outside. */
function spinCounts({ pid, facts }: Victim, spinners: number): bigint[] {
  const fd = openSync(`/proc/${String(pid)}/mem`, 'r')
  try {
    const bytes = Buffer.alloc(8 * spinners)
    readSync(fd, bytes, 0, bytes.length, numberFact(facts, 'counters'))
    return Array.from({ length: spinners }, (_, index) => bytes.readBigUInt64LE(8 * index))
  } finally {
    closeSync(fd)
  }
}

/** Whether the victim answers. */
async function answers(victim: Victim): Promise<boolean> {
  return (await victim.request('ping')).pong === true
}

describe('seizing a process', () => {
  it('stops every thread, spinning, sleeping or just born, and lets every one go on', async () => {
    await withVictim('threads', ['--threads', '100', '--spin', '2', '--churn', '2'], async (victim) => {
      const { pid } = victim
      await withSeizer(async (seizer) => {
        for (let round = 0; round < 3; round += 1) {
          const { threads, rounds, wasStopped } = await seizer.stop(pid)
          expect(states(pid)).toEqual(['t'])
          expect(new Set(threads)).toEqual(new Set(liveThreads(pid)))
          expect(threads.length).toBeGreaterThan(102)
          expect([rounds > 0, wasStopped]).toEqual([true, false])
          const counts = spinCounts(victim, 2)
          expect(await sameForAWhile(() => spinCounts(victim, 2).join())).toBe(counts.join())
          await seizer.release()
          await waitUntil('the counters to move', () =>
            spinCounts(victim, 2).every((count, index) => count > (counts[index] ?? 0n)),
          )
          await untilReleased(pid)
          expect(await answers(victim)).toBe(true)
        }
      })
      const { churned } = await victim.request('churned')
      expect(churned).toBeGreaterThan(0)
    })
  })

  it('misses no thread of a process that makes and ends threads all the time, and leaves no zombie of one', async () => {
    await withVictim('threads', ['--threads', '300', '--churn', '2'], async (victim) => {
      const { pid } = victim
      await withSeizer(async (seizer) => {
        for (let round = 0; round < 20; round += 1) {
          await seizer.stop(pid)
          expect(states(pid)).toEqual(['t'])
          await seizer.release()
        }
        await untilReleased(pid)
        // A thread that ended in our hands would stay a zombie until we wait for it; others are gone at once.
        await waitUntil('the ended threads to go', () => ![...taskStates(pid).values()].includes('Z'))
      })
      expect(await answers(victim)).toBe(true)
    })
  })

  it('leaves a process stopped that was stopped by a signal before', async () => {
    await withVictim('threads', ['--threads', '5'], async (victim) => {
      const { pid } = victim
      await suspend(pid)
      await withSeizer(async (seizer) => {
        expect((await seizer.stop(pid)).wasStopped).toBe(true)
        expect(states(pid)).toEqual(['t'])
        await seizer.release()
        await waitUntil('the stop by signal', () => states(pid).join() === 'T')
      })
      expect(states(pid)).toEqual(['T'])
      await resume(pid)
      expect(await answers(victim)).toBe(true)
    })
  })

  it('loses no signal that comes while threads are being stopped', async () => {
    await withVictim('busy-signals', [], async (victim) => {
      await withSeizer(async (seizer) => {
        await seizer.cycle(victim.pid, 40)
      })
      const { sent, received } = await victim.request('settle')
      expect(received).toBe(sent)
      expect(sent).toBeGreaterThan(100)
    })
  })

  it('delivers afterwards each signal that came while the process stood', async () => {
    await withVictim('busy-signals', [], async (victim) => {
      const settled = await victim.request('settle')
      const before = numberFact(settled, 'received')
      const signal = String(numberFact(victim.facts, 'signal'))
      await withSeizer(async (seizer) => {
        await seizer.stop(victim.pid)
        for (let count = 0; count < 25; count += 1) {
          expect(spawnSync('kill', [`-${signal}`, String(victim.pid)]).status).toBe(0)
        }
        expect(states(victim.pid)).toEqual(['t'])
        await seizer.release()
      })
      let received = 0
      for (let look = 0; look < 1000 && received < before + 25; look += 1) {
        received = numberFact(await victim.request('counts'), 'received')
      }
      expect(received).toBe(before + 25)
    })
  })

  it('stops a process whose main thread has ended', async () => {
    await withVictim('zombie-leader', ['--threads', '3'], async (victim) => {
      const { pid } = victim
      await withSeizer(async (seizer) => {
        const { threads } = await seizer.stop(pid)
        expect(threads).not.toContain(pid)
        expect(new Set(threads)).toEqual(new Set(liveThreads(pid)))
        expect(states(pid)).toEqual(['t'])
        await seizer.release()
      })
      expect(await answers(victim)).toBe(true)
      expect(numbersFact(await victim.request('tids'), 'tids')).toEqual(numbersFact(victim.facts, 'tids'))
    })
  })

  it('can be done again and again by one thread, on one process after the other', async () => {
    await withVictim('plain', [], async (first) => {
      await withVictim('plain', [], async (second) => {
        await withSeizer(async (seizer) => {
          for (const victim of [first, second, first]) {
            await seizer.stop(victim.pid)
            expect(states(victim.pid)).toEqual(['t'])
            await seizer.release()
            expect(await answers(victim)).toBe(true)
          }
        })
      })
    })
  })

  it('lets go when the seizing thread is ended from outside', async () => {
    await withVictim('threads', ['--threads', '20', '--spin', '1'], async (victim) => {
      await withSeizer(async (seizer) => {
        await seizer.stop(victim.pid)
        expect(states(victim.pid)).toEqual(['t'])
        await seizer.end()
        await untilReleased(victim.pid)
      })
      expect(await answers(victim)).toBe(true)
    })
  })

  it('has nothing to release when the process was killed meanwhile', async () => {
    await withVictim('threads', ['--threads', '5'], async ({ pid }) => {
      await withSeizer(async (seizer) => {
        await seizer.stop(pid)
        process.kill(pid, 'SIGKILL')
        await seizer.release()
        await seizer.end()
        await waitUntil('the victim to end', () => isGone(pid))
      })
    })
  })

  it('fails with TARGET_DIED where there is no such process', async () => {
    await withSeizer(async (seizer) => {
      const died = { code: 'TARGET_DIED', details: { pid: 2 ** 22 } }
      await expect(seizer.stop(2 ** 22)).rejects.toMatchObject(died)
    })
  })

  it('fails with PERMISSION_DENIED where another traces it, and leaves it to that one', async () => {
    await withVictim('threads', ['--threads', '5'], async (victim) => {
      await withSeizer(async (first) => {
        await first.stop(victim.pid)
        await withSeizer(async (second) => {
          await expect(second.stop(victim.pid)).rejects.toMatchObject({
            code: 'PERMISSION_DENIED',
            details: { pid: victim.pid, errno: 'EPERM' },
          })
        })
        expect(states(victim.pid)).toEqual(['t'])
        await first.release()
      })
      expect(await answers(victim)).toBe(true)
    })
  })
})

describe('seizing a process with a thread in vfork', () => {
  it('fails at the deadline, names the thread, and the process runs on when the seizing thread has ended', async () => {
    await withVictim('shared-mm', ['--vfork'], async (victim) => {
      const { pid } = victim
      const waiting = [...taskStates(pid)].filter(([, state]) => state === 'D').map(([tid]) => tid)
      expect(waiting).toHaveLength(1)
      await withSeizer(async (seizer) => {
        const timeout = { code: 'SEIZE_TIMEOUT', details: { pid, tid: waiting[0] } }
        await expect(seizer.stop(pid, { timeoutMs: 50 })).rejects.toMatchObject(timeout)
        expect(await answers(victim)).toBe(true)
      })
      await victim.request('release')
      await waitUntil('the thread to leave vfork', () => !states(pid).includes('D'))
      await untilReleased(pid)
      expect(await answers(victim)).toBe(true)
    })
  })

  it('succeeds when the child ends before the deadline', async () => {
    await withVictim('shared-mm', ['--vfork'], async (victim) => {
      const { pid } = victim
      await withSeizer(async (seizer) => {
        const stopping = seizer.stop(pid)
        await waitUntil('the main thread to stop', () => taskStates(pid).get(pid) === 't')
        process.kill(numberFact(victim.facts, 'otherPid'), 'SIGKILL')
        const { threads } = await stopping
        expect(new Set(threads)).toEqual(new Set(liveThreads(pid)))
        expect(states(pid)).toEqual(['t'])
        await seizer.release()
      })
      expect(await answers(victim)).toBe(true)
    })
  })
})

describe('seizing a process that a version 1 freezer cgroup holds', () => {
  const itFreezes = itIf(hasV1Freezer, 'needs root and a version 1 freezer cgroup')

  itFreezes('takes its threads as standing when it is told of the cgroup', async () => {
    await withVictim('threads', ['--threads', '5', '--spin', '1'], async (victim) => {
      await withFreezer(async (group) => {
        group.add(victim.pid)
        await group.freeze()
        await withSeizer(async (seizer) => {
          const { threads } = await seizer.stop(victim.pid, { freezerState: group.stateFile })
          expect(new Set(threads)).toEqual(new Set(liveThreads(victim.pid)))
          await seizer.release()
        })
        group.thaw()
        await untilReleased(victim.pid)
        expect(await answers(victim)).toBe(true)
      })
    })
  })

  itFreezes('fails at the deadline when it is not, and leaves nothing stopped', async () => {
    await withVictim('threads', ['--threads', '5'], async (victim) => {
      await withFreezer(async (group) => {
        group.add(victim.pid)
        await group.freeze()
        await withSeizer(async (seizer) => {
          const stopping = seizer.stop(victim.pid, { timeoutMs: 50 })
          await expect(stopping).rejects.toMatchObject({ code: 'SEIZE_TIMEOUT' })
        })
        group.thaw()
        await untilReleased(victim.pid)
        expect(await answers(victim)).toBe(true)
      })
    })
  })
})

describe('the rehearsal', () => {
  it('seizes nobody', () => {
    SeizedProcess.rehearse()
    expect(states(process.pid)).not.toContain('t')
    expect(new SeizedProcess(process.pid).threads).toEqual([])
  })
})

/** What `look` tells, a hundred times the same; else what it told last. */
async function sameForAWhile(look: () => string): Promise<string> {
  const first = look()
  for (let count = 0; count < 100; count += 1) {
    await new Promise((resolve) => setImmediate(resolve))
    const now = look()
    if (now !== first) return now
  }
  return first
}
