/**
 * The victim test/victims/random-program.c, compiled where there is a C compiler.
 */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll } from '@jest/globals'
import { pageSize } from './kernel-vmas.js'
import { type Victim, withVictim } from './victim.js'

const SOURCE = fileURLToPath(new URL('../../../test/victims/random-program.c', import.meta.url))

/** Whether this machine can run the random program. */
export const canRunRandomProgram = spawnSync('gcc', ['--version']).status === 0 && pageSize() === 4096

/** Why it cannot, for a skip. */
export const NO_RANDOM_PROGRAM = 'needs gcc, and pages of 4096 bytes'

/** The random program, for the tests of one file. */
export interface RandomProgram {
  /** Runs `use` with a running one; without `hugePages` it never gets any. */
  readonly run: <Result>(hugePages: boolean, use: (victim: Victim) => Promise<Result>) => Promise<Result>
}

/** The random program, compiled before the first test of this `describe` and removed after the last. */
export function randomProgram(): RandomProgram {
  let directory = ''
  beforeAll(() => {
    directory = mkdtempSync(join(tmpdir(), 'random-program-'))
    const words = ['-O1', '-Wall', '-Wextra', '-Werror', '-pthread', '-o', join(directory, 'program'), SOURCE]
    const { status, stderr } = spawnSync('gcc', words, { encoding: 'utf8' })
    if (status !== 0) throw new Error(`gcc failed: ${stderr}`)
  })
  afterAll(() => {
    rmSync(directory, { recursive: true, force: true })
  })
  return {
    run: (hugePages, use) =>
      withVictim('random-program', ['--thp', hugePages ? 'on' : 'off'], use, {
        executable: join(directory, 'program'),
      }),
  }
}
