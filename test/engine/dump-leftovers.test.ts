import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from '@jest/globals'
import { type Facts, numbersFact, parseFacts } from '../support/facts.js'
import { startProgram, withTempDir } from '../support/tool.js'
import { expectUnharmed } from '../support/unharmed.js'
import { withVictim } from '../support/victim.js'

const LIBRARY = new URL('../../src/index.js', import.meta.url).href
const DUMPS = 10

/** Runs `body` in a program of its own, with `dump` and what it takes to count; the numbers that it prints. */
async function countLeftovers(body: string): Promise<Facts> {
  return withTempDir(async (directory) =>
    withVictim('plain', ['--vmas', '10', '--pages-per-vma', '1024'], async (victim) => {
      const program = join(directory, 'program.mjs')
      writeFileSync(
        program,
        `import { readdirSync, readFileSync } from 'node:fs'
         import { setTimeout as delay } from 'node:timers/promises'
         import { dump } from ${JSON.stringify(LIBRARY)}
         const pid = ${String(victim.pid)}
         const count = (path) => readdirSync(path).length
         const mapped = () => Number(/^VmSize:\\s+(\\d+)/m.exec(readFileSync('/proc/self/status', 'latin1'))[1])
         // Node's threads end a moment after they have been told to.
         const settled = async (path, most) => {
           for (let look = 0; look < 500 && count(path) > most; look += 1) await delay(2)
           return count(path)
         }
         const failures = []
         const one = (number, options = {}) =>
           dump({ pid, imagesDir: ${JSON.stringify(directory)} + '/' + number, sync: false, workers: 2, ...options })
         ${body}`,
      )
      const run = await startProgram(program, []).finished
      expect([run.status, run.stderr]).toEqual([0, ''])
      await expectUnharmed(victim)
      return parseFacts(run.stdout)
    }),
  )
}

const AROUND = (dumps: string): string => `
  await one('first')
  await delay(50)
  const fds = count('/proc/self/fd'), tasks = count('/proc/self/task')
  const sizes = []
  for (let number = 0; number < ${String(DUMPS)}; number += 1) {
    ${dumps}
    sizes.push(mapped())
  }
  console.log(JSON.stringify({
    fds: [fds, await settled('/proc/self/fd', fds)],
    tasks: [tasks, await settled('/proc/self/task', tasks)],
    failures, sizes,
  }))`

describe(`${String(DUMPS)} dumps in one process`, () => {
  it.each([
    ['that succeed', 'await one(number)', []],
    [
      'that fail in the freeze',
      `await one(number, { maxFrozenMs: 1 }).catch((error) => failures.push(error.code))`,
      ['FROZEN_TOO_LONG'],
    ],
    [
      'that find the directory in use',
      `await one('first').catch((error) => failures.push(error.code))`,
      ['IMAGES_DIR_IN_USE'],
    ],
    [
      'that are aborted while they prepare',
      `const controller = new AbortController()
       const onProgress = () => controller.abort()
       await one(number, { onProgress, signal: controller.signal }).catch((error) => failures.push(error.code))`,
      ['INTERRUPTED'],
    ],
  ])('%s leave no thread, descriptor or memory behind, and the process ends', async (_, dumps, codes) => {
    const counted = await countLeftovers(AROUND(dumps))
    const [fdsBefore, fdsAfter] = numbersFact(counted, 'fds')
    const [tasksBefore, tasksAfter] = numbersFact(counted, 'tasks')
    expect(fdsAfter).toBeLessThanOrEqual(fdsBefore ?? 0)
    expect(tasksAfter).toBeLessThanOrEqual(tasksBefore ?? 0)
    expect(counted.failures).toEqual(codes.length === 0 ? [] : Array.from({ length: DUMPS }, () => codes[0]))
    const sizes = numbersFact(counted, 'sizes')
    // The victim has 40 MiB, so staging memory not given back would be 40 MiB a dump.
    expect((sizes.at(-1) ?? 0) - (sizes[4] ?? 0)).toBeLessThan(5 * 40 * 1024)
  })
})
