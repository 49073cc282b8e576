/** Dumps from a fork: the same snapshot, a target that is left alone, and a copy where no fork is to be had. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from '@jest/globals'
import { takeSnapshot } from '../../src/engine/dump.js'
import { settle, type DumpStep } from '../../src/engine/options.js'
import { dump, type DumpResult } from '../../src/index.js'
import { expectChainEqualsProcess } from '../support/chain-oracle.js'
import { describeIf, isRoot, itIf, kernelAtLeast, NOBODY } from '../support/privileges.js'
import { childrenOf, resume, sendSignal, suspend, twinsOf, waitUntil } from '../support/processes.js'
import { withShell } from '../support/shell.js'
import { digests, expectSameMemory } from '../support/snapshots.js'
import { withTempDir } from '../support/tool.js'
import { expectRunning, expectUnharmed } from '../support/unharmed.js'
import { withVictim } from '../support/victim.js'

const PLAIN = ['--vmas', '30', '--pages-per-vma', '100', '--gap']

/** Dumps by fork; `onStep` is told each step, also while the target stands. */
async function dumpWith(
  pid: number,
  imagesDir: string,
  onStep: (step: DumpStep) => void,
  more: { readonly prevImagesDir?: string; readonly trackMem?: boolean } = {},
): Promise<DumpResult> {
  const settings = settle(
    { pid, imagesDir, tracker: 'uffd-wp', capture: 'fork', sync: false, ...more },
    'dump',
  )
  return takeSnapshot({ ...settings, onStep })
}

/** Kills the fork of `pid` that stands: of all processes like it the only one with its words. */
function killFork(pid: number): void {
  const [fork] = twinsOf(pid)
  if (fork === undefined) throw new Error('there is no fork')
  process.kill(fork, 'SIGKILL')
}

describe('a dump from a fork', () => {
  it.each([
    ['hard', []],
    ['plain', PLAIN],
    ['plain', ['--vmas', '2', '--pages-per-vma', '2048', '--thp']],
  ])('of %s %j is what a copy is, page for page', async (name, args) => {
    await withTempDir(async (folder) => {
      await withVictim(name, args, async (victim) => {
        await suspend(victim.pid)
        const taken: Record<string, unknown>[] = []
        for (const [index, capture] of (['fork', 'copy', 'fork'] as const).entries()) {
          const imagesDir = join(folder, String(index))
          const workers = 1 + index
          const result = await dump({ pid: victim.pid, imagesDir, capture, workers, sync: false })
          expect([result.capture.method, result.capture.why]).toEqual([capture, 'as asked for'])
          expectSameMemory(victim.pid, imagesDir)
          taken.push(digests(imagesDir, /^(pagemap-|mm-|pstree)/))
        }
        expect(taken[1]).toEqual(taken[0])
        expect(taken[2]).toEqual(taken[0])
        expect(childrenOf(victim.pid)).toEqual([])
        await resume(victim.pid)
        await expectUnharmed(victim)
      })
    })
  })

  it('is finished though the target ends meanwhile', async () => {
    await withTempDir(async (folder) => {
      await withVictim('plain', PLAIN, async (victim) => {
        await suspend(victim.pid)
        await dump({ pid: victim.pid, imagesDir: join(folder, 'before'), capture: 'copy', sync: false })
        const result = await dumpWith(victim.pid, join(folder, 'after'), (step) => {
          if (step === 'thawed') sendSignal(victim.pid, 'SIGKILL')
        })
        expect(result.capture.method).toBe('fork')
        expect(result.pagesStored).toBeGreaterThan(3000)
      })
    })
  })

  it('leaves no fork where it is interrupted', async () => {
    await withTempDir(async (folder) => {
      await withVictim('plain', PLAIN, async (victim) => {
        const controller = new AbortController()
        const settings = settle(
          { pid: victim.pid, imagesDir: join(folder, '1'), capture: 'fork', signal: controller.signal },
          'dump',
        )
        const onStep = (step: DumpStep): void => {
          if (step === 'thawed') controller.abort('SIGINT')
        }
        const failing = takeSnapshot({ ...settings, onStep })
        await expect(failing).rejects.toMatchObject({ code: 'INTERRUPTED' })
        expect(twinsOf(victim.pid)).toEqual([])
        expect(childrenOf(victim.pid)).toEqual([])
        await expectUnharmed(victim)
      })
    })
  })
})

describe('memory is copied instead', () => {
  it('where the fork is killed before it has been read, and the result says so', async () => {
    await withTempDir(async (folder) => {
      await withVictim('plain', PLAIN, async (victim) => {
        await suspend(victim.pid)
        let kills = 0
        const result = await dumpWith(victim.pid, join(folder, '1'), (step) => {
          if (step === 'thawed' && kills++ === 0) killFork(victim.pid)
        })
        expect(kills).toBe(2)
        expect(result.capture).toMatchObject({ method: 'copy', why: expect.stringMatching(/no good/) })
        expectSameMemory(victim.pid, join(folder, '1'))
        await resume(victim.pid)
        await expectUnharmed(victim)
      })
    })
  })

  it('of init of a pid namespace, whose child the fork would stay', async () => {
    await withTempDir(async (folder) => {
      const args = ['--victim', 'plain', '--', ...PLAIN]
      await withVictim('pid-namespace', args, async (victim) => {
        const result = await dump({
          pid: victim.pid,
          imagesDir: join(folder, '1'),
          capture: 'fork',
          sync: false,
        })
        expect(result.capture).toMatchObject({
          method: 'copy',
          why: expect.stringMatching(/init of its pid/),
        })
      })
    })
  })

  itIf(isRoot, 'needs root')('where the target may have no more processes', async () => {
    const limit = 'ulimit -u 1; echo $$; exec sleep 300'
    const script = `exec setpriv --reuid ${String(NOBODY)} --clear-groups bash -c '${limit}'`
    await withTempDir(async (folder) => {
      await withShell(script, async (line) => {
        const pid = Number(line)
        await waitUntil('exec', () => readFileSync(`/proc/${String(pid)}/comm`, 'latin1') === 'sleep\n')
        const result = await dump({ pid, imagesDir: join(folder, '1'), capture: 'fork', sync: false })
        expect(result.capture).toMatchObject({ method: 'copy', why: expect.stringMatching(/EAGAIN/) })
        await expectRunning(pid)
      })
    })
  })
})

describeIf(kernelAtLeast(6, 7), 'uffd-wp needs Linux 6.7')('an increment whose fork is lost', () => {
  it('is full, since its dirty bits were reset, and the next one is right', async () => {
    await withTempDir(async (folder) => {
      await withVictim('plain', PLAIN, async (victim) => {
        const { pid } = victim
        await dumpWith(pid, join(folder, '1'), () => undefined, { trackMem: true })
        await victim.request('write 40 1')
        let kills = 0
        const lost = await dumpWith(
          pid,
          join(folder, '2'),
          (step) => {
            if (step === 'thawed' && kills++ === 0) killFork(pid)
          },
          { prevImagesDir: '../1' },
        )
        expect([lost.capture.method, lost.pagesInParent]).toEqual(['copy', 0])
        expect(lost.fullBecause).toMatch(/not the last snapshot/)
        await victim.request('write 30 2')
        await suspend(pid)
        await waitUntil('no twin', () => twinsOf(pid).length === 0)
        const next = await dumpWith(pid, join(folder, '3'), () => undefined, { prevImagesDir: '../2' })
        expect([next.fullBecause, next.capture.method]).toEqual(['', 'fork'])
        expect(expectChainEqualsProcess(join(folder, '3'), pid).holes).toBe(next.pagesInParent)
        await resume(pid)
      })
    })
  })
})
