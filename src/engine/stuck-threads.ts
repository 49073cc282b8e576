/**
 * Threads that do not end, since the kernel holds them: at a page that its owner does not provide, at a disk that hangs.
 *
 * Nothing ends such a thread but the end of the process, and Node would wait for the thread before that: so whoever
 * gives up on one has the process end without it.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { TidemarkError } from '../errors.js'
import { exitGroup } from '../kernel/exit-group.js'

let noted = false

/**
 * Waits for the end of threads, at most `milliseconds`; whether they have ended. Where they have not, the process will
 * end without them when it ends, with the status that it has by then.
 */
export async function threadsEnd(end: Promise<unknown>, milliseconds: number): Promise<boolean> {
  const controller = new AbortController()
  const deadline = sleep(milliseconds, false, { signal: controller.signal }).catch(() => false)
  try {
    const ended = await Promise.race([end.then(() => true), deadline])
    if (!ended) endWithoutThem()
    return ended
  } finally {
    controller.abort()
  }
}

/** The error for a thread that does not answer. */
export function stuckThread(what: string): TidemarkError {
  return new TidemarkError(
    'WORKER_FAILED',
    `${what} does not answer: the kernel holds it, perhaps at a page that nobody provides or at a disk that hangs`,
  )
}

function endWithoutThem(): void {
  if (noted) return
  noted = true
  process.once('exit', exitGroup)
}
