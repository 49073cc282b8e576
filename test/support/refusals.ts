/**
 * What every failed run of `tidemark dump` owes its user: one line, the table's status, nothing left behind.
 */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { expect } from '@jest/globals'
import { EXIT_STATUS, type ErrorCode } from '../../src/errors.js'
import { type Facts, isFacts, parseFacts, stringFact } from './facts.js'
import { dumpWords } from './snapshots.js'
import { runTool, type ToolOptions, type ToolRun, withTempDir } from './tool.js'

/** Fails unless `run` ended with `code`, in one line on stderr and nothing on stdout but the JSON that was asked for. */
export function expectError(run: ToolRun, code: ErrorCode, status: number = EXIT_STATUS[code]): string {
  expect(run.stderr).toMatch(new RegExp(`^tidemark: ${code}: [^\\n]+\\n$`))
  expect([run.status, run.signal]).toEqual([status, null])
  expect(run.stdout).toBe('')
  return run.stderr.trimEnd()
}

/** The same for a run with `--json`: stdout holds one line, an object with the error. */
export function expectJsonError(run: ToolRun, code: ErrorCode): Facts {
  expect(run.stdout).toMatch(/^[^\n]+\n$/)
  const { error } = parseFacts(run.stdout)
  if (!isFacts(error)) throw new Error(`no error in ${run.stdout}`)
  expect(error.code).toBe(code)
  expect(run.stderr).toBe(`tidemark: ${code}: ${stringFact(error, 'message')}\n`)
  expect(run.status).toBe(EXIT_STATUS[code])
  return error
}

/**
 * Runs a dump of `pid` into a directory that is not there, which must fail with `code` and not make it; once as
 * text and once as JSON. Returns the line on stderr.
 */
export async function expectRefused(
  pid: number | string,
  code: ErrorCode,
  options: ToolOptions = {},
): Promise<string> {
  return withTempDir(async (directory) => {
    const images = join(directory, 'images')
    const [text, json] = await Promise.all([
      runTool(dumpWords(pid, images), options),
      runTool(dumpWords(pid, images + '-json', ['--json']), options),
    ])
    expect([existsSync(images), existsSync(images + '-json')]).toEqual([false, false])
    expectJsonError(json, code)
    return expectError(text, code)
  })
}
