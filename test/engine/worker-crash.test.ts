import { existsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { describe, expect, it } from '@jest/globals'
import { dumpWords } from '../support/snapshots.js'
import { runTool, type ToolRun, withTempDir } from '../support/tool.js'
import { expectUnharmed } from '../support/unharmed.js'
import { withVictim } from '../support/victim.js'

const GIVE_UP_MS = 15_000

/**
 * Runs a dump in which the JavaScript of `preload` is run in every thread of the tool first. Checks that nothing
 * is left and the target unharmed.
 */
async function dumpWithPreload(preload: string): Promise<ToolRun> {
  return withTempDir(async (directory) =>
    withVictim('plain', [], async (victim) => {
      const program = join(directory, 'preload.mjs')
      const images = join(directory, 'images')
      writeFileSync(
        program,
        `import { syncBuiltinESMExports } from 'node:module'
         import threads from 'node:worker_threads'
         ${preload}`,
      )
      const env = { NODE_OPTIONS: `--import=${pathToFileURL(program).href}` }
      const words = dumpWords(victim.pid, images, ['--max-frozen', '1', '--workers', '2'])
      const run = await runTool(words, { env, timeoutMs: GIVE_UP_MS })
      expect(existsSync(images)).toBe(false)
      await expectUnharmed(victim)
      return run
    }),
  )
}

describe('a thread of the tool that dies', () => {
  it('while it loads fails the dump in one line', async () => {
    const run = await dumpWithPreload(`if (!threads.isMainThread) throw new Error('out of luck')`)
    expect(run.stderr).toMatch(/^tidemark: WORKER_FAILED: .*out of luck\n$/)
    expect(run.status).toBe(1)
  })

  it.each([
    ['the survey', `job.kind === 'scan' && !job.frozen`],
    ['the faulting in of staging memory', `job.kind === 'populate'`],
    ['the rehearsal of the capture', `job.kind === 'copy' && !frozen`],
    ['the scan of the frozen target', `job.kind === 'scan' && job.frozen`],
    ['the capture of the frozen target', `job.kind === 'copy' && frozen`],
    ['the write', `job.kind === 'write'`],
  ])('in %s fails the dump in one line', async (_, condition) => {
    const run = await dumpWithPreload(`
      let frozen = false
      const receive = threads.receiveMessageOnPort
      threads.receiveMessageOnPort = (port) => {
        const received = receive(port)
        const job = received?.message ?? {}
        if (job.frozen) frozen = true
        if (!threads.isMainThread && (${condition})) process.exit(13)
        return received
      }
      syncBuiltinESMExports()`)
    expect(run.stderr).toMatch(/^tidemark: (WORKER_FAILED|FROZEN_TOO_LONG): [^\n]+\n$/)
    expect(run.status).toBe(run.stderr.includes('WORKER') ? 1 : 7)
  })
})

describe('a thread of the tool that the kernel holds', () => {
  it('is given up, and the command ends without it', async () => {
    const run = await dumpWithPreload(`
      import { execFileSync } from 'node:child_process'
      import { openSync, readSync } from 'node:fs'
      let frozen = false
      const receive = threads.receiveMessageOnPort
      threads.receiveMessageOnPort = (port) => {
        const received = receive(port)
        const job = received?.message ?? {}
        if (job.frozen) frozen = true
        if (!threads.isMainThread && job.kind === 'copy' && frozen) {
          // A pipe that nobody writes to.
          execFileSync('mkfifo', [import.meta.filename + '.' + threads.threadId])
          readSync(openSync(import.meta.filename + '.' + threads.threadId, 'r+'), Buffer.alloc(1))
        }
        return received
      }
      syncBuiltinESMExports()`)
    expect(run.stderr).toMatch(/^tidemark: FROZEN_TOO_LONG: [^\n]+\n$/)
    expect([run.status, run.signal]).toEqual([7, null])
  })
})
