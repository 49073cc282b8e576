import { takeSnapshot } from '../../src/engine/dump.js'
import { settle, type DumpStep } from '../../src/engine/options.js'
import { spawnSync } from 'node:child_process'
import { chmodSync, existsSync, mkdirSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals'
import { numberFact } from '../support/facts.js'
import { isRoot, itIf } from '../support/privileges.js'
import { isStopped, resume, suspend, taskStates, waitUntil } from '../support/processes.js'
import { expectError, expectJsonError } from '../support/refusals.js'
import { digests, dumpResult, dumpWords, expectSameMemory, runDump } from '../support/snapshots.js'
import { startShellTool } from '../support/shell.js'
import { runTool, startTool, withTempDir } from '../support/tool.js'
import { pauseWhen } from '../support/timing.js'
import { expectUnharmed } from '../support/unharmed.js'
import { startVictim, type Victim, withVictim } from '../support/victim.js'

const MEBIBYTE = 2 ** 20
const canMount = isRoot && spawnSync('unshare', ['--mount', 'true']).status === 0
const NO_MOUNT = 'needs root and the right to mount'

let victim: Victim
beforeAll(async () => {
  victim = await startVictim('plain', ['--vmas', '16', '--pages-per-vma', '256'])
})
afterEach(async () => {
  await resume(victim.pid)
})
afterAll(async () => {
  await victim.stop()
})

/** Runs `use` on a file system in memory of its own. */
async function withTmpfs(options: string, use: (mount: string) => Promise<void>): Promise<void> {
  await withTempDir(async (mount) => {
    const made = spawnSync('mount', ['-t', 'tmpfs', '-o', options, 'tidemark-test', mount], {
      encoding: 'utf8',
    })
    expect([made.status, made.stderr]).toEqual([0, ''])
    try {
      await use(mount)
    } finally {
      spawnSync('umount', [mount])
    }
  })
}

/** Leaves no room in the file system at `mount`. */
function fillUp(mount: string): void {
  for (let size = MEBIBYTE; size > 0; size = Math.floor(size / 16)) {
    try {
      for (let index = 0; ; index += 1)
        writeFileSync(join(mount, `filler-${String(size)}-${String(index)}`), Buffer.alloc(size))
    } catch {
      // Not room for so much any more.
    }
  }
}

describe('an images directory', () => {
  it.each(['000', '022', '077'])('and what is in it is for its owner only, under umask %s', async (umask) => {
    await withTempDir(async (directory) => {
      const images = join(directory, 'a/b')
      const run = startShellTool(`umask ${umask}; exec "$@"`, dumpWords(victim.pid, images, ['--quiet']))
      expect(await run.finished).toMatchObject({ status: 0, stderr: '' })
      const mode = (path: string): string => (statSync(path).mode % 0o1000).toString(8)
      expect([mode(join(directory, 'a')), mode(images)]).toEqual(['700', '700'])
      const modes = readdirSync(images).map((name) => [name, mode(join(images, name))])
      expect(modes).toHaveLength(8)
      expect(modes.filter(([, bits]) => bits !== '600')).toEqual([])
    })
  })

  it('that was there keeps its mode and the files of others', async () => {
    await withTempDir(async (directory) => {
      chmodSync(directory, 0o755)
      writeFileSync(join(directory, 'notes'), 'mine')
      await dumpResult(victim.pid, directory)
      expect(statSync(directory).mode % 0o1000).toBe(0o755)
      expect(readdirSync(directory)).toEqual(
        expect.arrayContaining(['notes', 'tidemark.json', 'pages-1.img']),
      )
      expect(readdirSync(directory)).toHaveLength(9)
    })
  })

  it('with a snapshot in it is refused and stays as it is, and so is one with images of CRIU', async () => {
    await withTempDir(async (directory) => {
      const images = join(directory, 'images')
      await dumpResult(victim.pid, images)
      const before = digests(images, /./)
      expectError(await runDump(victim.pid, images), 'IMAGES_DIR_IN_USE')
      expectJsonError(await runDump(victim.pid, images, ['--json']), 'IMAGES_DIR_IN_USE')
      expect(digests(images, /./)).toEqual(before)

      const foreign = join(directory, 'foreign')
      mkdirSync(foreign)
      writeFileSync(join(foreign, 'core-7.img'), 'x')
      expectError(await runDump(victim.pid, foreign), 'IMAGES_DIR_IN_USE')
      expect(readdirSync(foreign)).toEqual(['core-7.img'])
      await expectUnharmed(victim)
    })
  })

  it('in which another run is at work is refused, and that run is not disturbed', async () => {
    await withTempDir(async (directory) => {
      const images = join(directory, 'images')
      await suspend(victim.pid)
      const first = startTool(dumpWords(victim.pid, images))
      await pauseWhen(() => existsSync(join(images, '.tidemark-partial')), first)
      expectError(await runDump(victim.pid, images), 'IMAGES_DIR_IN_USE')
      first.kill('SIGCONT')
      expect((await first.finished).status).toBe(0)
      expectSameMemory(victim.pid, images)
    })
  })

  it('that is removed in mid-dump fails the dump, and the target runs', async () => {
    await withTempDir(async (directory) => {
      const images = join(directory, 'images')
      const run = startTool(dumpWords(victim.pid, images))
      await pauseWhen(() => existsSync(join(images, '.tidemark-partial/pages-1.img')), run)
      rmSync(images, { recursive: true })
      run.kill('SIGCONT')
      expectError(await run.finished, 'WRITE_FAILED')
      expect(readdirSync(directory)).toEqual([])
      await expectUnharmed(victim)
    })
  })

  it.each([
    ['in a file system that makes no directories', '/proc/tidemark-test'],
    ['below a file', '/proc/version/images'],
    ['with a name too long', `/tmp/${'x'.repeat(300)}`],
  ])('%s is refused', async (_, images) => {
    expectError(await runDump(victim.pid, images), 'IMAGES_DIR_UNUSABLE')
    await expectUnharmed(victim)
  })

  it('that is a file is refused', async () => {
    await withTempDir(async (directory) => {
      const file = join(directory, 'file')
      writeFileSync(file, 'mine')
      expectError(await runDump(victim.pid, file), 'IMAGES_DIR_UNUSABLE')
      expect(readdirSync(directory)).toEqual(['file'])
    })
  })

  itIf(canMount, NO_MOUNT)('on a read-only file system is refused', async () => {
    await withTmpfs('size=1m,ro', async (mount) => {
      const line = expectError(await runDump(victim.pid, join(mount, 'images')), 'IMAGES_DIR_UNUSABLE')
      expect(line).toContain('read-only')
      expectJsonError(await runDump(victim.pid, mount, ['--json']), 'IMAGES_DIR_UNUSABLE')
      await expectUnharmed(victim)
    })
  })
})

describe('a full disk', () => {
  itIf(canMount, NO_MOUNT)('fails the dump before the freeze, and nothing is left', async () => {
    await withTmpfs('size=2m', async (mount) => {
      for (const images of [mount, join(mount, 'a/b')]) {
        const line = expectError(await runDump(victim.pid, images), 'WRITE_FAILED')
        expect(line).toMatch(/room|space|full/)
        expect(readdirSync(mount)).toEqual([])
      }
      const error = expectJsonError(await runDump(victim.pid, mount, ['--json']), 'WRITE_FAILED')
      expect(error.details).toMatchObject({ errno: 'ENOSPC' })
      await expectUnharmed(victim)
    })
  })

  itIf(canMount, NO_MOUNT)('found out while the small images are written leaves nothing', async () => {
    for (const capture of ['copy', 'fork'] as const) {
      await withTmpfs(`size=${String(80 * MEBIBYTE)}`, async (mount) => {
        const settings = settle({ pid: victim.pid, imagesDir: join(mount, 'images'), capture }, 'dump')
        const onStep = (step: DumpStep): void => {
          if (step === 'pages written') fillUp(mount)
        }
        await expect(takeSnapshot({ ...settings, onStep })).rejects.toMatchObject({ code: 'WRITE_FAILED' })
        expect(existsSync(join(mount, 'images'))).toBe(false)
        await expectUnharmed(victim)
      })
    }
  })

  itIf(canMount, NO_MOUNT)('that fills up between check and write leaves nothing', async () => {
    await withTmpfs(`size=${String(80 * MEBIBYTE)}`, async (mount) => {
      const images = join(mount, 'images')
      const run = startTool(dumpWords(victim.pid, images))
      await pauseWhen(() => existsSync(join(images, '.tidemark-partial/pages-1.img')), run)
      fillUp(mount)
      run.kill('SIGCONT')
      const ended = await run.finished
      expectError(ended, 'WRITE_FAILED')
      expect(existsSync(images)).toBe(false)
      await expectUnharmed(victim)
    })
  })

  it.each([
    ['after the thaw', []],
    ['while the target stands', ['--max-memory', '0', '--capture', 'copy']],
    ['for what exceeds the memory', ['--max-memory', '4M', '--workers', '1', '--capture', 'copy']],
    ['while a fork is read', ['--capture', 'fork']],
  ])('or a limit on file sizes met %s leaves nothing, and the target runs', async (_, words) => {
    await withTempDir(async (directory) => {
      const images = join(directory, 'images')
      // In blocks of 512 bytes.
      const run = startShellTool(
        'ulimit -f 12288; exec "$@"',
        dumpWords(victim.pid, images, [...words, '--quiet']),
      )
      expect(expectError(await run.finished, 'WRITE_FAILED')).toContain('EFBIG')
      expect(readdirSync(directory)).toEqual([])
      await expectUnharmed(victim)
    })
  })
})

describe('a dump with --leave-stopped', () => {
  it('leaves the target stopped, with the memory that the images have', async () => {
    await withTempDir(async (directory) => {
      await withVictim('dirty-writer', [], async (writer) => {
        const images = join(directory, 'images')
        await dumpResult(writer.pid, images, ['--leave-stopped'])
        expect([...new Set(taskStates(writer.pid).values())]).toEqual(['T'])
        expectSameMemory(writer.pid, images)
        await resume(writer.pid)
        await expectUnharmed(writer)
        const before = numberFact(await writer.request('rounds'), 'rounds')
        while (numberFact(await writer.request('rounds'), 'rounds') === before) continue
      })
    })
  })

  it('that fails after the thaw lets the target run, or leaves it stopped where it was', async () => {
    await withTempDir(async (directory) => {
      const words = dumpWords(victim.pid, join(directory, 'images'), ['-s'])
      const fail = async (): Promise<void> => {
        expectError(await startShellTool('ulimit -f 12288; exec "$@"', words).finished, 'WRITE_FAILED')
      }
      await fail()
      await expectUnharmed(victim)
      await suspend(victim.pid)
      await fail()
      expect(isStopped(victim.pid)).toBe(true)
    })
  })

  it('that is killed leaves the target stopped only where its images are there', async () => {
    for (const round of [1, 2, 3, 4, 5]) {
      await withTempDir(async (directory) => {
        const images = join(directory, `images-${String(round)}`)
        const run = startTool(dumpWords(victim.pid, images, ['-s']))
        await waitUntil('the target to stand', () => {
          const states = [...taskStates(victim.pid).values()]
          return states.includes('t') || states.includes('T')
        })
        run.kill('SIGKILL')
        await run.finished
        await waitUntil('the target to be let go', () => ![...taskStates(victim.pid).values()].includes('t'))
        expect([round, isStopped(victim.pid)]).toEqual([round, existsSync(join(images, 'tidemark.json'))])
        if (isStopped(victim.pid)) await resume(victim.pid)
      })
    }
  })

  it('that takes too long lets the target run', async () => {
    await withTempDir(async (directory) => {
      const words = dumpWords(victim.pid, join(directory, 'images'), ['-s', '--max-frozen', '0.001'])
      expectError(await runTool(words), 'FROZEN_TOO_LONG')
      await expectUnharmed(victim)
    })
  })
})
