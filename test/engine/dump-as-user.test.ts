import { spawnSync } from 'node:child_process'
import { chownSync } from 'node:fs'
import { join } from 'node:path'
import { describe } from '@jest/globals'
import { isRoot, itIf, NOBODY } from '../support/privileges.js'
import { suspend } from '../support/processes.js'
import { dumpResult, expectSameMemory } from '../support/snapshots.js'
import { TOOL_PATH, withTempDir } from '../support/tool.js'
import { withVictim } from '../support/victim.js'

/** Whether another user can run the command from this checkout. */
const othersCanRun =
  isRoot && spawnSync(process.execPath, [TOOL_PATH, '--version'], { uid: NOBODY, gid: NOBODY }).status === 0

describe('a user without any rights', () => {
  const register = itIf(othersCanRun, 'needs root, and a checkout that other users can read')
  for (const [name, args] of [
    ['plain', []],
    ['hard', []],
    ['threads', ['--threads', '20']],
  ] as const) {
    register(`dumps a process of their own (${name}) as it is`, async () => {
      await withTempDir(async (directory) => {
        chownSync(directory, NOBODY, NOBODY)
        await withVictim(
          name,
          args,
          async ({ pid }) => {
            await suspend(pid)
            const images = join(directory, 'images')
            await dumpResult(pid, images, [], { uid: NOBODY, cwd: '/' })
            expectSameMemory(pid, images)
          },
          { uid: NOBODY },
        )
      })
    })
  }
})
