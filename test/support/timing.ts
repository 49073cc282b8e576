/**
 * Moments within a run of the command, at which a test kills something.
 */
import { setTimeout as delay } from 'node:timers/promises'
import { isStopped, taskStates, waitUntil } from './processes.js'
import type { RunningTool } from './tool.js'

/** `count` moments in milliseconds, spread evenly over a run that takes `durationMs`. */
export function spreadMoments(count: number, durationMs: number): number[] {
  return Array.from({ length: count }, (_, index) => Math.round(((index + 0.5) * durationMs) / count))
}

/** Resolves after `ms`, or when the run has ended. Only for moments that a test means to be arbitrary. */
export async function arbitraryMoment(ms: number, run: RunningTool): Promise<void> {
  await Promise.race([delay(ms), run.finished])
}

/** Resolves as soon as a thread of `pid` stands in a ptrace stop; false where the run ended without that being seen. */
export async function whenFrozen(pid: number, run: RunningTool): Promise<boolean> {
  while (!run.ended()) {
    if ([...taskStates(pid).values()].includes('t')) return true
    await new Promise((resolve) => setImmediate(resolve))
  }
  return false
}

/** Stops the command by SIGSTOP as soon as `holds`, and resolves when it has stopped; SIGCONT lets it go on. */
export async function pauseWhen(holds: () => boolean, run: RunningTool): Promise<void> {
  await waitUntil('the moment to stop the command', holds)
  run.kill('SIGSTOP')
  await waitUntil('the command to stop', () => isStopped(run.pid))
}
