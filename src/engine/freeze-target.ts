/**
 * Brings the target to a stand: three tries, each by a thread of its own, within the caller's timeout.
 *
 * A target in vfork may not stop, or stand while the child that shares its memory is still on its way to its exec.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { codeOf } from '../errors.js'
import { permissionError } from '../kernel/permission.js'
import { refuseTraced } from '../kernel/target.js'
import type { Held } from '../tasks/hold-target.js'
import { Freezer } from './freezer.js'
import { throwIfAborted, type DumpSettings } from './options.js'

const SEIZE_TIMEOUT_MS = 500
const TRIES = 3
const PAUSE_MS = 100
/** Failures that another try may be spared. */
const PASSING = ['SEIZE_TIMEOUT', 'SHARED_MM']

/** A target that stands still, and the thread that holds it. */
export interface Frozen {
  readonly freezer: Freezer
  readonly held: Held
  /** Tries that it took. */
  readonly tries: number
}

/**
 * Freezes the target and calls `capture` at once, without a turn of the event loop in between. `capture` lets
 * the target go, or keeps it for as long as it takes.
 *
 * Whatever `capture` throws, the target is let go before it gets out. It is called again where it throws `SHARED_MM`.
 *
 * @param first - a freezer that has loaded
 * @param freezerState - state file of a version 1 freezer cgroup that holds the target
 */
export async function withFrozenTarget<T>(
  settings: DumpSettings,
  first: Freezer,
  freezerState: string | undefined,
  capture: (frozen: Frozen) => T | Promise<T>,
): Promise<T> {
  const { pid, maxFrozenMs, leaveStopped } = settings
  const deadline = performance.now() + settings.timeoutMs
  let freezer = first
  for (let tries = 1; ; tries++) {
    const left = Math.max(1, deadline - performance.now())
    const seizeTimeoutMs = Math.min(SEIZE_TIMEOUT_MS, left)
    try {
      const held = freezer.freeze({ pid, seizeTimeoutMs, maxFrozenMs, freezerState, leaveStopped })
      return await capture({ freezer, held, tries })
    } catch (error) {
      const isRefused = codeOf(error) === 'PERMISSION_DENIED'
      // Most often a tracer that came after the first look. It may be gone by now; then it is worth another try.
      if (isRefused) refuseTraced(pid, 'others')
      if (isRefused && tries === TRIES) throw permissionError(pid, error)
      const passes = isRefused || PASSING.includes(codeOf(error) ?? '')
      if (!passes || tries === TRIES || performance.now() + PAUSE_MS > deadline) throw error
    } finally {
      freezer.letGo()
      await freezer.close()
    }
    throwIfAborted(settings.signal)
    await sleep(PAUSE_MS)
    freezer = await Freezer.start()
  }
}
