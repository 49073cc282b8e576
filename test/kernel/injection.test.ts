import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { expect, it } from '@jest/globals'
import { userfaultfdsOf } from '../support/descriptors.js'
import { type Facts, listFact, numberFact, parseFacts, stringFact } from '../support/facts.js'
import { describeIf, isRoot, itIf, NOBODY } from '../support/privileges.js'
import { isStopped, resume, suspend, waitUntil, waitUntilGone } from '../support/processes.js'
import { hasCompiler, type SelfCheckingOptions, withSelfChecking } from '../support/self-checking.js'
import { withShell } from '../support/shell.js'
import { startProgram } from '../support/tool.js'
import { expectRunning } from '../support/unharmed.js'
import { withVictim } from '../support/victim.js'
import type { InjectorOptions } from './injector.js'

const PROGRAM = fileURLToPath(new URL('./injector.js', import.meta.url))
const PATIENCE_MS = 300_000
/** Kills at random times; TIDEMARK_TEST_KILLS for more. */
const KILLS = Number(process.env.TIDEMARK_TEST_KILLS ?? 60)
const COMPILER_REASON = 'needs gcc'

/** What a run of the program says. */
async function open(pid: number, options: InjectorOptions = {}, uid?: number): Promise<Facts> {
  const user = uid === undefined ? {} : { uid, gid: uid }
  const { stdout, stderr } = await startProgram(PROGRAM, ['open', String(pid), JSON.stringify(options)], user)
    .finished
  if (stdout === '') throw new Error(`the program printed nothing: ${stderr}`)
  return parseFacts(stdout)
}

/** Runs the program, which kills itself at step `killAt`; whether it lived so long. */
async function openAndDie(pid: number, options: InjectorOptions): Promise<boolean> {
  const { signal } = await startProgram(PROGRAM, ['open', String(pid), JSON.stringify(options)]).finished
  return signal === 'SIGKILL'
}

/** The steps of a run that does not fail; it opens a descriptor and closes it unless said. */
async function stepsOf(pid: number, options: InjectorOptions = { close: true }): Promise<readonly unknown[]> {
  const facts = await open(pid, options)
  if (!('fd' in facts)) throw new Error(JSON.stringify(facts))
  return listFact(facts, 'steps')
}

interface Case {
  readonly name: string
  readonly victim: SelfCheckingOptions
  readonly options: InjectorOptions
}

const CASES: readonly Case[] = [
  { name: 'in a process with threads', victim: {}, options: { close: true } },
  { name: 'in a static program', victim: { isStatic: true }, options: {} },
  {
    name: 'with the frame on the main stack',
    victim: { mode: 'one' },
    options: { close: true, onMainStack: true },
  },
  { name: 'in the main thread', victim: { mode: 'one' }, options: {} },
]

describeIf(hasCompiler, COMPILER_REASON)('a system call inside a target', () => {
  it.each(CASES)(
    '$name leaves it right though the tool is killed at any step',
    async ({ victim: kind, options }) => {
      await withSelfChecking(kind, async (victim) => {
        const steps = await stepsOf(victim.pid, options)
        expect(steps.length).toBeGreaterThan(20)
        for (let killAt = 1; killAt <= steps.length; killAt += 1) {
          expect(await openAndDie(victim.pid, { ...options, killAt })).toBe(true)
          await victim.expectRight()
        }
        await expectRunning(victim.pid)
        expect(await stepsOf(victim.pid, options)).toEqual(steps)
        await victim.expectRight()
      })
    },
    PATIENCE_MS,
  )

  it(
    `leaves it right though the tool is killed ${String(KILLS)} times at random`,
    async () => {
      await withSelfChecking({}, async (victim) => {
        for (let kill = 0; kill < KILLS; kill += 1) {
          const tool = startProgram(PROGRAM, ['loop', String(victim.pid)])
          await tool.output(/ready/)
          const until = performance.now() + 50 * Math.random()
          while (performance.now() < until) continue
          tool.kill('SIGKILL')
          expect((await tool.finished).signal).toBe('SIGKILL')
          await victim.expectRight()
        }
        await stepsOf(victim.pid)
        await victim.expectRight()
      })
    },
    PATIENCE_MS + 1000 * KILLS,
  )

  it('opens a userfaultfd with a high number and leaves nothing else behind', async () => {
    await withSelfChecking({}, async (victim) => {
      const maps = (): string => readFileSync(`/proc/${victim.pid}/maps`, 'latin1')
      const before = maps()
      const fd = numberFact(await open(victim.pid), 'fd')
      expect(userfaultfdsOf(victim.pid)).toEqual([fd])
      expect(fd).toBeGreaterThanOrEqual(1023)
      await stepsOf(victim.pid)
      await stepsOf(victim.pid, { close: true, onMainStack: true })
      expect(userfaultfdsOf(victim.pid)).toEqual([fd])
      expect(maps()).toBe(before)
      await victim.expectRight()
    })
  })

  it('takes a lower number where the high ones may not be had', async () => {
    await withShell('ulimit -n 64; sleep 300 & echo $!; wait', async (line) => {
      expect(numberFact(await open(Number(line)), 'fd')).toBe(63)
    })
    await withShell('ulimit -n 8; sleep 300 & echo $!; wait', async (line) => {
      expect(await open(Number(line))).toMatchObject({ code: 'SYSCALL_FAILED', details: { errno: 'EMFILE' } })
      expect(userfaultfdsOf(Number(line))).toEqual([])
    })
  })

  it(
    'loses no signal that comes meanwhile',
    async () => {
      await withSelfChecking({}, async (victim) => {
        const { length } = await stepsOf(victim.pid)
        for (let signalAt = 1; signalAt <= length; signalAt += 4) {
          const before = victim.signals()
          await open(victim.pid, { close: true, signalAt, signal: 'SIGUSR2', threads: [victim.pid] })
          await waitUntil('the signal', () => victim.signals() === before + 1)
        }
        await victim.expectRight()
      })
    },
    PATIENCE_MS,
  )

  it(
    'of a process that gets SIGSTOP meanwhile is finished, and the process then stopped',
    async () => {
      await withSelfChecking({}, async (victim) => {
        const { length } = await stepsOf(victim.pid)
        for (let signalAt = 1; signalAt <= length; signalAt += 3) {
          const answer = await open(victim.pid, { close: true, signalAt, signal: 'SIGSTOP' })
          expect(answer).toHaveProperty('fd')
          await waitUntil('the stop', () => isStopped(victim.pid))
          await resume(victim.pid)
          await victim.expectRight()
        }
      })
    },
    PATIENCE_MS,
  )

  it(
    'of a process that is killed meanwhile tells so, soon',
    async () => {
      for (const signalAt of [1, 4, 5, 7, 8, 12, 22]) {
        await withSelfChecking({}, async (victim) => {
          const begun = performance.now()
          const answer = await open(victim.pid, { signalAt, signal: 'SIGKILL' })
          expect([answer.code, answer.message]).toEqual(['TARGET_DIED', answer.message])
          expect(performance.now() - begun).toBeLessThan(15_000)
          await waitUntilGone(victim.pid)
        })
      }
    },
    PATIENCE_MS,
  )

  it(
    'is made in a stopped process, and refused while a killed run has left a thread on its way',
    async () => {
      await withSelfChecking({}, async (victim) => {
        await suspend(victim.pid)
        const { length } = await stepsOf(victim.pid)
        await waitUntil('the stop', () => isStopped(victim.pid))
        for (const killAt of [3, 4, 9, length - 2]) {
          await openAndDie(victim.pid, { close: true, killAt })
          await waitUntil('the stop', () => isStopped(victim.pid))
          const answer = await open(victim.pid)
          expect(answer).toMatchObject({ code: 'INJECTION_REFUSED', details: { pid: victim.pid } })
          expect(stringFact(answer, 'message')).toMatch(/on its way back/)
          await resume(victim.pid)
          await victim.expectRight()
          await suspend(victim.pid)
          await stepsOf(victim.pid)
        }
        await resume(victim.pid)
        await victim.expectRight()
      })
    },
    PATIENCE_MS,
  )

  itIf(isRoot, 'needs root')('passes a seccomp filter by', async () => {
    for (const mode of ['errno', 'kill'] as const) {
      await withSelfChecking({ mode }, async (victim) => {
        await stepsOf(victim.pid)
        await victim.expectRight()
      })
    }
  })

  itIf(isRoot, 'needs root')(
    'that a filter would punish leaves the process right though the tool is killed before it or after',
    async () => {
      await withSelfChecking({ mode: 'kill' }, async (victim) => {
        const steps = await stepsOf(victim.pid)
        // From here to the exit the call is under way, and nobody is there any more to suspend the filter.
        const window = [steps.indexOf('replaced') + 1, steps.indexOf('running') + 1]
        for (let killAt = 1; killAt <= steps.length; killAt += 1) {
          if (window.includes(killAt)) continue
          await openAndDie(victim.pid, { close: true, killAt })
          await victim.expectRight()
        }
      })
    },
    PATIENCE_MS,
  )

  itIf(isRoot, 'needs root')('by a user, of a process of that user, works', async () => {
    await withSelfChecking({ uid: NOBODY }, async (victim) => {
      const answer = await open(victim.pid, { close: true }, NOBODY)
      expect(answer).toHaveProperty('fd')
      await victim.expectRight()
    })
  })
})

describeIf(hasCompiler, COMPILER_REASON)(
  'a system call inside a target is refused, and nothing touched,',
  () => {
    async function refusal(pid: number, uid?: number): Promise<string> {
      const answer = await open(pid, {}, uid)
      expect(answer).toMatchObject({ code: 'INJECTION_REFUSED', details: { pid } })
      expect(listFact(answer, 'steps')).toEqual([])
      return stringFact(answer, 'message')
    }

    it('without a vdso', async () => {
      await withSelfChecking({ mode: 'no-vdso' }, async (victim) => {
        expect(await refusal(victim.pid)).toMatch(/it has no vdso/)
        await victim.expectRight()
      })
    })

    it('in a restartable sequence', async () => {
      await withSelfChecking({ mode: 'rseq' }, async (victim) => {
        expect(await refusal(victim.pid)).toMatch(/it is in a restartable sequence/)
        await victim.expectRight()
      })
    })

    it('in restart_syscall', async () => {
      await withShell('sleep 300 & echo $!; wait', async (line) => {
        await stepsOf(Number(line))
        expect(await refusal(Number(line))).toMatch(/it is in restart_syscall/)
      })
    })

    itIf(isRoot, 'needs root')('behind a seccomp filter that the tool may not suspend', async () => {
      await withSelfChecking({ mode: 'errno', uid: NOBODY }, async (victim) => {
        expect(await refusal(victim.pid, NOBODY)).toMatch(/it has a seccomp filter/)
        await victim.expectRight()
      })
    })

    it('in 32-bit code', async () => {
      await withVictim('elf32', [], async (victim) => {
        expect(await refusal(victim.pid)).toMatch(/32-bit/)
      })
    })
  },
)
