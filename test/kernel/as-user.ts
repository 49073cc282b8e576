/**
 * Runs `unprivileged.ts` as somebody else, and tells what it printed.
 */
import { fileURLToPath } from 'node:url'
import { parseFacts, type Facts } from '../support/facts.js'
import { NOBODY } from '../support/privileges.js'
import { startCommand, startProgram, type ToolRun } from '../support/tool.js'

/** Path of the program. */
export const PROGRAM = fileURLToPath(new URL('./unprivileged.js', import.meta.url))

/** What the program does and says as a user without any rights, or as `gid` of that user. */
export async function asNobody(words: readonly (string | number)[], gid = NOBODY): Promise<Facts> {
  return printed(words, { uid: NOBODY, gid })
}

/** The same in a user namespace of their own, in which they are nobody as well. */
export async function asNobodyElsewhere(words: readonly (string | number)[]): Promise<Facts> {
  const command = ['-U', process.execPath, PROGRAM, ...words.map(String)]
  return parse(await startCommand('unshare', command, { uid: NOBODY, gid: NOBODY }).finished)
}

/** What the program does and says as the user of the test. */
export async function asOurselves(words: readonly (string | number)[]): Promise<Facts> {
  return printed(words, {})
}

async function printed(
  words: readonly (string | number)[],
  options: { uid?: number; gid?: number },
): Promise<Facts> {
  return parse(await startProgram(PROGRAM, words.map(String), options).finished)
}

function parse({ stdout, stderr }: ToolRun): Facts {
  if (stdout === '') throw new Error(`the program printed nothing: ${stderr}`)
  return parseFacts(stdout)
}
