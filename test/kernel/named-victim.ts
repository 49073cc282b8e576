/**
 * Starts `named-process.ts` as victims are started, though it is not among them.
 */
import { basename } from 'node:path'
import { fileURLToPath } from 'node:url'
import { withVictim, type Victim, type VictimOptions } from '../support/victim.js'

const PROGRAM = fileURLToPath(new URL('./named-process.js', import.meta.url))

/** Runs `use` with a process that calls itself as `args` say; it ends afterwards, whatever happens. */
export async function withNamedProcess(
  args: readonly string[],
  use: (victim: Victim) => Promise<void>,
  options: VictimOptions = {},
): Promise<void> {
  await withVictim(`../kernel/${basename(PROGRAM, '.js')}`, args, use, options)
}
