/** The last line of a CI run, from the results that Jest wrote. */

import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'

const SCRIPT = fileURLToPath(new URL('../../../.ci/count-results.js', import.meta.url))

const GREEN = {
  success: true,
  numTotalTests: 7,
  numPassedTests: 4,
  numFailedTests: 0,
  numPendingTests: 2,
  numTodoTests: 1,
  numRuntimeErrorTestSuites: 0,
}

describe('the last line of a CI run', () => {
  let directory = ''
  beforeAll(() => {
    directory = mkdtempSync(join(tmpdir(), 'tidemark-count-'))
  })
  afterAll(() => {
    rmSync(directory, { recursive: true })
  })

  /** Writes `results` (JSON as it is, if a string) and names it as a run that ended with `exitStatus`. */
  function run(name: string, results: object | string, exitStatus = 0): string {
    const path = join(directory, `${name}.json`)
    writeFileSync(path, typeof results === 'string' ? results : JSON.stringify(results))
    return `${exitStatus}=${path}`
  }

  function count(failedSteps: number, ...runs: string[]): { line: string; status: number | null } {
    const { stdout, status } = spawnSync(process.execPath, [SCRIPT, String(failedSteps), ...runs], {
      encoding: 'utf8',
    })
    return { line: stdout.trimEnd(), status }
  }

  test('the counts of all runs are summed, and todo tests are skipped ones', () => {
    expect(count(0, run('a', GREEN), run('b', GREEN))).toEqual({
      line: '8 passed, 0 failed, 6 skipped',
      status: 0,
    })
  })

  test('a failed test fails the run', () => {
    const results = { ...GREEN, success: false, numPassedTests: 3, numFailedTests: 1 }
    expect(count(0, run('a', results, 1), run('b', GREEN))).toEqual({
      line: '7 passed, 1 failed, 6 skipped',
      status: 1,
    })
  })

  test('a suite that could not run is a failure', () => {
    const results = { ...GREEN, success: false, numRuntimeErrorTestSuites: 2 }
    expect(count(0, run('a', results, 1))).toEqual({ line: '4 passed, 2 failed, 3 skipped', status: 1 })
  })

  test('a failed step adds to what failed', () => {
    expect(count(3, run('a', GREEN))).toEqual({ line: '4 passed, 3 failed, 3 skipped', status: 1 })
  })

  test('a run that ends badly with every test green is one failure', () => {
    expect(count(0, run('a', GREEN, 124))).toEqual({ line: '4 passed, 1 failed, 3 skipped', status: 1 })
    expect(count(0, run('b', { ...GREEN, success: false }))).toEqual({
      line: '4 passed, 1 failed, 3 skipped',
      status: 1,
    })
  })

  test('a run in which no test ran is one failure, even if all were skipped', () => {
    const skipped = { ...GREEN, numPassedTests: 0, numPendingTests: 6 }
    expect(count(0, run('a', skipped), run('b', GREEN))).toEqual({
      line: '4 passed, 1 failed, 10 skipped',
      status: 1,
    })
  })

  test('results that are missing, cut off or of another form are one failure each', () => {
    const absent = `1=${join(directory, 'absent.json')}`
    expect(count(0, absent, run('a', '{"numTotalTests": 1'), run('b', 'null'), run('c', {}))).toEqual({
      line: '0 passed, 4 failed, 0 skipped',
      status: 1,
    })
  })

  test('no run at all is a failure', () => {
    expect(count(0)).toEqual({ line: '0 passed, 1 failed, 0 skipped', status: 1 })
  })
})
