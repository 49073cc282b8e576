import { existsSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it } from '@jest/globals'
import { fileSystemOf } from '../../bench/machine.js'
import { takeSnapshot } from '../../src/engine/dump.js'
import { settle, type DumpOptions } from '../../src/engine/options.js'
import { withTempDir } from '../support/tool.js'
import { expectUnharmed } from '../support/unharmed.js'
import { withVictim } from '../support/victim.js'

/** Unit of `blocks`. source: stat(2) */
const BLOCK = 512
/** What a file system may take beyond a file's content, for its own tables. */
const SLACK = 2 ** 18

/** Dumps a victim of 40 MiB, and tells the size of its pages file, the space that it had before the freeze, and has. */
async function dumpTo(
  parent: string,
  options: Partial<DumpOptions>,
): Promise<{ bytes: number; reserved: number; taken: number }> {
  return withTempDir(async (directory) => {
    return withVictim('plain', ['--vmas', '10', '--pages-per-vma', '1024'], async (victim) => {
      const imagesDir = join(directory, 'images')
      const partial = join(imagesDir, '.tidemark-partial/pages-1.img')
      let reserved = -1
      const { bytesStored } = await takeSnapshot({
        ...settle({ pid: victim.pid, imagesDir, sync: false, workers: 2, ...options }, 'dump'),
        onStep: (step) => {
          if (step === 'surveyed') reserved = statSync(partial).blocks * BLOCK
        },
      })
      const { size, blocks } = statSync(join(imagesDir, 'pages-1.img'))
      expect(size).toBe(bytesStored)
      await expectUnharmed(victim)
      return { bytes: size, reserved, taken: blocks * BLOCK }
    })
  }, parent)
}

describe('space for the pages file', () => {
  it('is taken before the freeze where that is cheap, and what is not used given back', async () => {
    const { bytes, reserved, taken } = await dumpTo(tmpdir(), {})
    if (['ext4', 'xfs'].includes(fileSystemOf(tmpdir()))) expect(reserved).toBeGreaterThan(bytes * 0.9)
    else process.stderr.write(`not looked at: ${fileSystemOf(tmpdir())}\n`)
    expect(taken).toBeLessThan(bytes + SLACK)
  })

  const itOnTmpfs = existsSync('/dev/shm') && fileSystemOf('/dev/shm') === 'tmpfs' ? it : it.skip
  if (itOnTmpfs === it.skip) process.stderr.write('skipped: /dev/shm is no tmpfs\n')

  itOnTmpfs('is taken on a tmpfs only for what is written while the process stands', async () => {
    const whole = await dumpTo('/dev/shm', {})
    expect(whole.reserved).toBe(0)
    expect(whole.taken).toBeLessThan(whole.bytes + SLACK)
    const maxMemory = 2 ** 23
    const streamed = await dumpTo('/dev/shm', { maxMemory })
    expect(streamed.reserved).toBeGreaterThan(0.9 * (streamed.bytes - maxMemory))
    expect(streamed.reserved).toBeLessThan(1.1 * (streamed.bytes - maxMemory))
    expect(streamed.taken).toBeLessThan(streamed.bytes + SLACK)
  })
})
