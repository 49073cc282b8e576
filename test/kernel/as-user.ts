/**
 * Runs `unprivileged.ts` as somebody else, and tells what it printed.
 */
import { fileURLToPath } from 'node:url'
import { parseFacts, type Facts } from '../support/facts.js'
import { NOBODY } from '../support/privileges.js'
import { startProgram } from '../support/tool.js'

/** Path of the program. */
export const PROGRAM = fileURLToPath(new URL('./unprivileged.js', import.meta.url))

/** What the program does and says as a user without any rights, or as `gid` of that user. */
export async function asNobody(words: readonly (string | number)[], gid = NOBODY): Promise<Facts> {
  return printed(words, { uid: NOBODY, gid })
}

/** What the program does and says as the user of the test. */
export async function asOurselves(words: readonly (string | number)[]): Promise<Facts> {
  return printed(words, {})
}

async function printed(
  words: readonly (string | number)[],
  options: { uid?: number; gid?: number },
): Promise<Facts> {
  const { stdout, stderr } = await startProgram(PROGRAM, words.map(String), options).finished
  if (stdout === '') throw new Error(`the program printed nothing: ${stderr}`)
  return parseFacts(stdout)
}
