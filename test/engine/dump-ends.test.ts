import { existsSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals'
import { dump } from '../../src/index.js'
import { expectError } from '../support/refusals.js'
import { resume, suspend, taskStates, waitUntil } from '../support/processes.js'
import { withShell } from '../support/shell.js'
import { dumpWords, expectSameMemory, runDump } from '../support/snapshots.js'
import { type RunningTool, startTool, withTempDir } from '../support/tool.js'
import { arbitraryMoment, pauseWhen, spreadMoments, whenFrozen } from '../support/timing.js'
import { expectRunning, expectUnharmed } from '../support/unharmed.js'
import { startVictim, type Victim, withVictim } from '../support/victim.js'
import { readSnapshot } from '../../src/image/snapshot.js'

const ARGUMENTS = ['--vmas', '100', '--pages-per-vma', '128', '--gap']
const BIG = ['--vmas', '100', '--pages-per-vma', '1024', '--gap']

let victim: Victim
/** What a whole run takes here and now, in milliseconds. */
let durationMs: number

beforeAll(async () => {
  victim = await startVictim('plain', ARGUMENTS)
  await withTempDir(async (directory) => {
    const begun = performance.now()
    expect((await runDump(victim.pid, join(directory, 'images'))).status).toBe(0)
    durationMs = performance.now() - begun
  })
})
afterAll(async () => {
  await victim.stop()
})

/** Fails unless `images` is a whole snapshot, if it is there at all; says whether it is. */
function isWholeOrAbsent(images: string): boolean {
  if (!existsSync(images)) return false
  expect(readdirSync(images)).toContain('tidemark.json')
  expect(readdirSync(images)).not.toContain('.tidemark-partial')
  readSnapshot(images).close()
  return true
}

describe('a signal in mid-dump', () => {
  it.each([
    ['SIGINT', 130],
    ['SIGTERM', 143],
    ['SIGHUP', 129],
  ] as const)('%s leaves a whole snapshot or none, and the target running', async (signal, status) => {
    await withTempDir(async (directory) => {
      const images = join(directory, 'images')
      const statuses: (number | null)[] = []
      for (const moment of [...spreadMoments(4, durationMs), -1]) {
        const run = startTool(dumpWords(victim.pid, images))
        if (moment < 0) await whenFrozen(victim.pid, run)
        else await arbitraryMoment(moment, run)
        run.kill(signal)
        const ended = await run.finished
        statuses.push(ended.status)
        await expectUnharmed(victim)
        const whole = isWholeOrAbsent(images)
        // Before and after it listens to signals, the command dies of them as any program does: with nothing done
        // yet, or with everything done.
        if (ended.signal !== null) expect(ended.signal).toBe(signal)
        else expect([ended.status, whole]).toEqual(whole ? [0, true] : [status, false])
        if (ended.status === status) expectError({ ...ended, stdout: '' }, 'INTERRUPTED', status)
        rmSync(images, { recursive: true, force: true })
      }
      expect(statuses).toContain(status)
    })
  })

  it('given twice ends it at once, and the next dump finds its way', async () => {
    await withTempDir(async (directory) => {
      const images = join(directory, 'images')
      for (const moment of spreadMoments(3, durationMs)) {
        const run = startTool(dumpWords(victim.pid, images))
        await arbitraryMoment(moment, run)
        run.kill('SIGTERM')
        run.kill('SIGTERM')
        const { status, signal } = await run.finished
        expect([0, 143, 'SIGTERM']).toContain(status ?? signal)
        await expectUnharmed(victim)
        if (existsSync(join(images, 'tidemark.json'))) rmSync(images, { recursive: true })
      }
      expect((await runDump(victim.pid, images)).status).toBe(0)
      expect(isWholeOrAbsent(images)).toBe(true)
    })
  })

  it('SIGTSTP stops the command, but never while the target stands', async () => {
    await withTempDir(async (directory) => {
      for (const [index, moment] of [...spreadMoments(3, durationMs), -1].entries()) {
        const images = join(directory, String(index))
        const run = startTool(dumpWords(victim.pid, images))
        // Before it listens to SIGTSTP it stops as any program does.
        const frozen = moment < 0 ? await whenFrozen(victim.pid, run) : false
        if (moment >= 0) await arbitraryMoment(moment, run)
        run.kill('SIGTSTP')
        await untilStoppedOrEnded(run)
        await expectUnharmed(victim)
        if (moment < 0) expect(frozen).toBe(true)
        run.kill('SIGCONT')
        expect((await run.finished).status).toBe(0)
        expect(isWholeOrAbsent(images)).toBe(true)
      }
    })
  })

  async function untilStoppedOrEnded(run: RunningTool): Promise<void> {
    await waitUntil('the command to stop', () => {
      const states = [...taskStates(run.pid).values()]
      return states.every((state) => state === 'T' || state === 'Z' || state === 'X')
    })
  }
})

describe('the command killed in mid-dump', () => {
  it('leaves the target running and a directory that the next dump can use', async () => {
    await withTempDir(async (directory) => {
      const images = join(directory, 'images')
      const frozen: boolean[] = []
      for (const moment of [...spreadMoments(15, durationMs), -1, -1]) {
        const run = startTool(dumpWords(victim.pid, images))
        if (moment < 0) frozen.push(await whenFrozen(victim.pid, run))
        else await arbitraryMoment(moment, run)
        run.kill('SIGKILL')
        await run.finished
        await expectUnharmed(victim)
        if (!existsSync(join(images, 'tidemark.json'))) continue
        isWholeOrAbsent(images)
        rmSync(images, { recursive: true })
      }
      expect(frozen).toContain(true)
      await expectNextDumpRight(images)
    })
  })

  it('while it publishes leaves what the next dump clears away', async () => {
    await withTempDir(async (directory) => {
      const images = join(directory, 'images')
      let caught = 0
      // With the disk waited for, there is time between the first file in its place and the last.
      const words = dumpWords(victim.pid, images).filter((word) => word !== '--no-sync')
      for (let time = 0; time < 3; time += 1) {
        const run = startTool(words)
        while (!run.ended() && !existsSync(join(images, 'pages-1.img'))) {
          await new Promise((resolve) => setImmediate(resolve))
        }
        run.kill('SIGKILL')
        await run.finished
        if (!existsSync(join(images, 'tidemark.json'))) caught += 1
        else rmSync(images, { recursive: true })
      }
      process.stderr.write(`caught ${String(caught)} of 3 while they published\n`)
      await expectNextDumpRight(images)
    })
  })

  async function expectNextDumpRight(images: string): Promise<void> {
    await suspend(victim.pid)
    expect(await runDump(victim.pid, images, ['--quiet'])).toMatchObject({ status: 0, stderr: '' })
    expectSameMemory(victim.pid, images)
    expect(readdirSync(images)).not.toContain('.tidemark-partial')
    await resume(victim.pid)
  }
})

describe('a target that dies in mid-dump', () => {
  it('fails the dump with TARGET_DIED, and nothing is left', async () => {
    await withTempDir(async (directory) => {
      const statuses: (number | null)[] = []
      for (const [index, moment] of [...spreadMoments(6, durationMs), -1].entries()) {
        const images = join(directory, String(index))
        await withVictim('plain', ARGUMENTS, async ({ pid }) => {
          const run = startTool(dumpWords(pid, images))
          if (moment < 0) await whenFrozen(pid, run)
          else await arbitraryMoment(moment, run)
          process.kill(pid, 'SIGKILL')
          const ended = await run.finished
          statuses.push(ended.status)
          if (ended.status === 0) expect(isWholeOrAbsent(images)).toBe(true)
          else if (ended.status === 3)
            expect(ended.stderr).toMatch(/^tidemark: (ZOMBIE|NO_SUCH_PROCESS): [^\n]+\n$/)
          else expectError(ended, 'TARGET_DIED')
          if (ended.status !== 0) expect(existsSync(images)).toBe(false)
        })
      }
      expect(statuses).toContain(6)
    })
  })
})

describe('a target that becomes another program in mid-dump', () => {
  it('fails the dump with TARGET_CHANGED, and runs on', async () => {
    await withTempDir(async (directory) => {
      const images = join(directory, 'images')
      const script = `trap 'exec sleep 600' USR1; echo $$; while :; do sleep 0.01; done`
      await withShell(script, async (firstLine) => {
        const pid = Number(firstLine)
        const run = startTool(dumpWords(pid, images))
        await pauseWhen(() => existsSync(join(images, '.tidemark-partial')), run)
        process.kill(pid, 'SIGUSR1')
        await waitUntil('the other program', () => readFileSync(`/proc/${pid}/comm`, 'latin1') === 'sleep\n')
        run.kill('SIGCONT')
        expectError(await run.finished, 'TARGET_CHANGED')
        expect(existsSync(images)).toBe(false)
        await expectRunning(pid)
      })
    })
  })
})

describe('a dump that takes too long', () => {
  it.each([
    ['stays in memory', []],
    ['goes through to the disk', ['--max-memory', '0', '--quiet']],
  ])('lets the target go when --max-frozen is over, where it %s', async (_, words) => {
    await withTempDir(async (directory) => {
      await withVictim('plain', BIG, async (big) => {
        const images = join(directory, 'images')
        const run = await runDump(big.pid, images, ['--max-frozen', '0.001', ...words])
        expectError(run, 'FROZEN_TOO_LONG')
        expect(existsSync(images)).toBe(false)
        await expectUnharmed(big)
      })
    })
  })
})

describe('an AbortSignal', () => {
  it('that was aborted before refuses the dump', async () => {
    await withTempDir(async (directory) => {
      const imagesDir = join(directory, 'images')
      const call = dump({ pid: victim.pid, imagesDir, signal: AbortSignal.abort() })
      await expect(call).rejects.toMatchObject({ code: 'INTERRUPTED' })
      expect(existsSync(imagesDir)).toBe(false)
    })
  })

  it.each([
    ['prepare', false],
    ['write', false],
    ['publish', false],
    ['publish', true],
  ] as const)(
    'aborted in the step "%s" ends the dump and leaves nothing, with sync: %s',
    async (step, sync) => {
      await withTempDir(async (directory) => {
        const imagesDir = join(directory, 'images')
        const controller = new AbortController()
        const seen: string[] = []
        const call = dump({
          pid: victim.pid,
          imagesDir,
          sync,
          signal: controller.signal,
          onProgress: (progress) => {
            seen.push(progress.step)
            expect([...taskStates(victim.pid).values()]).not.toContain('t')
            if (progress.step === step) controller.abort()
          },
        })
        await expect(call).rejects.toMatchObject({ code: 'INTERRUPTED' })
        expect(seen.at(-1)).toBe(step)
        expect(existsSync(imagesDir)).toBe(false)
        await expectUnharmed(victim)
      })
    },
  )

  it('aborted while files are synced ends the dump with all or nothing', async () => {
    await withTempDir(async (directory) => {
      const imagesDir = join(directory, 'images')
      const controller = new AbortController()
      const outcome = await dump({
        pid: victim.pid,
        imagesDir,
        signal: controller.signal,
        onProgress: ({ step }) => {
          // Heard when the first file is on the disk, or later.
          if (step === 'publish') setImmediate(() => controller.abort())
        },
      }).then(
        () => 'done',
        () => 'failed',
      )
      expect(isWholeOrAbsent(imagesDir)).toBe(outcome === 'done')
      await expectRunning(victim.pid)
    })
  })
})
