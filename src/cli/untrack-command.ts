/** `tidemark untrack`: takes tracking off a process. */
import { untrack } from '../index.js'
import { print, printJson } from './output.js'
import { MAX_PID, parseWhole } from './units.js'

/** Runs the command. Throws TidemarkError. */
export async function runUntrack(args: { readonly tree: string; readonly json: boolean }): Promise<void> {
  const result = await untrack({ pid: parseWhole('tree', args.tree, 1, MAX_PID) })
  if (args.json) {
    printJson(result)
    return
  }
  const closed = result.userfaultfd ? ', its userfaultfd closed' : ''
  print(
    result.record || result.userfaultfd
      ? `process ${String(result.pid)} is no longer tracked${closed}; its next dump is full`
      : `process ${String(result.pid)} was not tracked`,
  )
}
