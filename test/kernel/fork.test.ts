/** A fork of a target: what it holds, what it leaves in the target, and what a kill of the tool leaves. */
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, it, jest } from '@jest/globals'
import { type Facts, listFact, numbersFact, parseFacts } from '../support/facts.js'
import { describeIf, isRoot, itIf, NOBODY } from '../support/privileges.js'
import { childrenOf, resume, suspend, twinsOf, waitUntil } from '../support/processes.js'
import { hasCompiler, type SelfCheckingOptions, withSelfChecking } from '../support/self-checking.js'
import { withShell } from '../support/shell.js'
import { startProgram, withTempDir } from '../support/tool.js'
import { expectRunning } from '../support/unharmed.js'
import { withVictim } from '../support/victim.js'
import type { InjectorOptions } from './injector.js'

const PROGRAM = fileURLToPath(new URL('./injector.js', import.meta.url))
const COROUTINE = fileURLToPath(new URL('../../../test/victims/coroutine.c', import.meta.url))
/** Kills at random times; TIDEMARK_TEST_KILLS for more. */
const KILLS = Number(process.env.TIDEMARK_TEST_KILLS ?? 30)

jest.setTimeout(300_000 + 1000 * KILLS)

/** What the program says of one command. */
async function tell(command: string, pid: number, options: InjectorOptions = {}): Promise<Facts> {
  const { finished } = startProgram(PROGRAM, [command, String(pid), JSON.stringify(options)])
  const { stdout, stderr } = await finished
  if (stdout === '') throw new Error(`the program printed nothing: ${stderr}`)
  return parseFacts(stdout)
}

/** Fails unless nothing of a killed run runs on. */
async function expectNoTwin(pid: number): Promise<void> {
  await waitUntil('every twin to end', () => twinsOf(pid).length === 0)
}

describe('a fork', () => {
  it.each([
    ['hard', []],
    ['threads', ['--threads', '12', '--spin', '1']],
  ])('holds what the target holds, no descriptor, and leaves no trace: %s', async (name, args) => {
    await withVictim(name, args, async (victim) => {
      for (const onMainStack of [false, true]) {
        const fork = await tell('fork', victim.pid, { onMainStack })
        expect(fork).toMatchObject({
          differing: [],
          descriptors: 0,
          oomScoreAdj: 1000,
          whole: true,
          wholeAfter: false,
        })
        expect(fork.parent).not.toBe(victim.pid)
        expect(childrenOf(victim.pid)).toEqual([])
        await expectRunning(victim.pid)
        expect(await victim.request('ping')).toEqual({ pong: true })
      }
    })
  })

  it('makes no signal, and is no child that the target could wait for', async () => {
    const script = [
      'import os, signal, sys, time',
      'count = [0]',
      'signal.signal(signal.SIGCHLD, lambda *a: count.__setitem__(0, count[0] + 1))',
      'os.register_at_fork(before=lambda: count.__setitem__(0, 1000))',
      'WALL = 0x40000000',
      'def children():',
      '    try: return os.waitpid(-1, os.WNOHANG | WALL)',
      '    except ChildProcessError: return "none"',
      'print(os.getpid(), flush=True)',
      'while not os.path.exists(sys.argv[1]): time.sleep(0.01)',
      'open(sys.argv[1], "w").write(f"{count[0]} {children()}")',
    ].join('\n')
    const asked = `/tmp/tidemark-fork-${String(process.pid)}`
    await withShell(`python3 -c '${script}' ${asked} & wait`, async (line) => {
      const pid = Number(line)
      for (let time = 0; time < 3; time += 1) expect(await tell('fork', pid)).toMatchObject({ whole: true })
      spawnSync('touch', [asked])
      await waitUntil('the answer', () => spawnSync('cat', [asked], { encoding: 'utf8' }).stdout !== '')
      expect(spawnSync('cat', [asked], { encoding: 'utf8' }).stdout).toBe('0 none')
    })
    spawnSync('rm', [asked])
  })

  itIf(isRoot, 'needs root')('is refused where the target may have no more processes', async () => {
    const limit = 'ulimit -u 1; echo $$; exec sleep 300'
    const script = `exec setpriv --reuid ${String(NOBODY)} --clear-groups bash -c '${limit}'`
    await withShell(script, async (line) => {
      await waitUntil('exec', () => readFileSync(`/proc/${line}/comm`, 'latin1') === 'sleep\n')
      const answer = await tell('fork', Number(line))
      expect(answer).toMatchObject({ code: 'FORK_FAILED', details: { syscall: 'clone', reason: 'EAGAIN' } })
      await expectRunning(Number(line))
    })
  })
})

const CASES: readonly (readonly [string, SelfCheckingOptions, InjectorOptions])[] = [
  ['a process with threads', {}, {}],
  ['a static program', { isStatic: true, mode: 'one' }, {}],
  ['one whose frame is on the main stack', { mode: 'one' }, { onMainStack: true }],
]

describeIf(hasCompiler, 'needs gcc')('a fork whose tool is killed', () => {
  it.each(CASES)(
    'at any step leaves %s right, alone, and with nothing for good',
    async (_, kind, options) => {
      await withSelfChecking(kind, async (victim) => {
        const steps = listFact(await tell('fork', victim.pid, options), 'steps')
        expect(steps).toEqual(
          expect.arrayContaining(['go-between', 'descriptors', 'forked', 'expendable', 'gone']),
        )
        const left = new Set<unknown>()
        for (let killAt = 1; killAt <= steps.length; killAt += 1) {
          const words = ['fork', String(victim.pid), JSON.stringify({ ...options, killAt })]
          const { signal, stdout } = await startProgram(PROGRAM, words).finished
          expect([signal, stdout]).toEqual(['SIGKILL', ''])
          await victim.expectRight()
          await expectNoTwin(victim.pid)
          const children = childrenOf(victim.pid)
          if (children.length === 0) continue
          left.add(steps[killAt - 1])
          expect(numbersFact(await tell('reap', victim.pid), 'children')).toEqual(children)
          expect(childrenOf(victim.pid)).toEqual([])
        }
        // So that the reaping is not tested by nothing.
        expect(left.has('bound')).toBe(true)
        await expectRunning(victim.pid)
        expect(listFact(await tell('fork', victim.pid, options), 'steps')).toEqual(steps)
        await victim.expectRight()
      })
    },
  )

  it(`leaves it right ${String(KILLS)} times at random`, async () => {
    await withSelfChecking({}, async (victim) => {
      for (let kill = 0; kill < KILLS; kill += 1) {
        const tool = startProgram(PROGRAM, ['forks', String(victim.pid)])
        await tool.output(/ready/)
        const until = performance.now() + 50 * Math.random()
        while (performance.now() < until) continue
        tool.kill('SIGKILL')
        expect((await tool.finished).signal).toBe('SIGKILL')
        await victim.expectRight()
        await expectNoTwin(victim.pid)
      }
      await tell('reap', victim.pid)
      expect(childrenOf(victim.pid)).toEqual([])
      await victim.expectRight()
    })
  })

  it('leaves the data of main as it is, though a coroutine runs on a piece of its frame', async () => {
    await withTempDir(async (folder) => {
      const program = join(folder, 'coroutine')
      // Bound at once: what binds a function later saves the vector state on the stack.
      const words = ['-O1', '-w', '-Wl,-z,now', '-o', program, COROUTINE]
      expect(spawnSync('gcc', words, { encoding: 'utf8' }).stderr).toBe('')
      await withShell(`'${program}' & wait`, async (line) => {
        const pid = Number(line)
        for (let time = 0; time < 3; time += 1) {
          expect(await tell('fork', pid, { onMainStack: true })).toMatchObject({ differing: [] })
          expect(await tell('open', pid, { onMainStack: true, close: true })).toHaveProperty('fd')
        }
        await expectRunning(pid)
      })
    })
  })

  it('is made of a stopped process, which stays stopped', async () => {
    await withSelfChecking({}, async (victim) => {
      await suspend(victim.pid)
      expect(await tell('fork', victim.pid)).toMatchObject({ whole: true, descriptors: 0 })
      await waitUntil('the stop', () =>
        spawnSync('cat', [`/proc/${String(victim.pid)}/stat`]).stdout.includes(') T '),
      )
      await resume(victim.pid)
      await victim.expectRight()
    })
  })

  itIf(isRoot, 'needs root')('and one of a process behind a seccomp filter work', async () => {
    for (const mode of ['errno', 'kill'] as const) {
      await withSelfChecking({ mode }, async (victim) => {
        expect(await tell('fork', victim.pid)).toMatchObject({ whole: true })
        await victim.expectRight()
      })
    }
  })
})
