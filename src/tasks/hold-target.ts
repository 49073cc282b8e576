/**
 * The freezer: the one thread that ptraces. It stops the target when asked, holds it until it is told to
 * let go or its own deadline comes, and ends. Whatever ends the thread or the process ends the hold.
 */
import { receiveMessageOnPort, type MessagePort } from 'node:worker_threads'
import { errorToData, type ErrorData } from '../errors.js'
import { monotonicMicros } from '../kernel/clock.js'
import { SeizedProcess } from '../kernel/seize.js'
import { FREEZER, FREEZER_STATE } from './control.js'

/** What the thread gets at its start. */
export interface HoldTask {
  readonly control: Int32Array
  readonly port: MessagePort
}

/** Whether a thread's start data is a {@link HoldTask}. */
export function isHoldTask(data: unknown): data is HoldTask {
  return typeof data === 'object' && data !== null && 'control' in data && 'port' in data
}

/** What to freeze, and for how long at most. */
export interface HoldRequest {
  readonly pid: number
  readonly seizeTimeoutMs: number
  readonly maxFrozenMs: number
  /** State file of the version 1 freezer cgroup that holds the target already. */
  readonly freezerState: string | undefined
  /** Leave the target stopped by SIGSTOP at the thaw. */
  readonly leaveStopped: boolean
}

/** The target stands still. Times in microseconds of the monotonic clock. */
export interface Held {
  readonly kind: 'held'
  readonly threads: readonly number[]
  readonly rounds: number
  readonly wasStopped: boolean
  readonly begunMicros: number
  readonly heldMicros: number
}

/** The target runs again. */
export interface Released {
  readonly kind: 'released'
  readonly releasedMicros: number
}

/** The target could not be frozen; it runs on. */
export interface HoldFailed {
  readonly kind: 'failed'
  readonly error: ErrorData
}

/** What the freezer tells the coordinator. */
export type FreezerMessage = Held | Released | HoldFailed

/** Serves one freeze. */
export function holdTarget({ control, port }: HoldTask): void {
  SeizedProcess.rehearse()
  // Unless the coordinator has asked already: what it has set must stand.
  Atomics.compareExchange(control, FREEZER.state, FREEZER_STATE.starting, FREEZER_STATE.ready)
  Atomics.wait(control, FREEZER.state, FREEZER_STATE.ready)
  const received: { message: HoldRequest } | undefined = receiveMessageOnPort(port)
  if (received === undefined) return
  const request = received.message
  const target = new SeizedProcess(request.pid, request.freezerState)
  const begunMicros = monotonicMicros()
  try {
    target.stopAll(performance.now() + request.seizeTimeoutMs)
  } catch (error) {
    post(port, { kind: 'failed', error: errorToData(error) })
    setState(control, FREEZER_STATE.failed)
    return
  }
  hold(control, port, request, target, begunMicros)
}

function hold(
  control: Int32Array,
  port: MessagePort,
  request: HoldRequest,
  target: SeizedProcess,
  begunMicros: number,
): void {
  const heldMicros = monotonicMicros()
  const { threads, rounds, wasStopped } = target
  post(port, { kind: 'held', threads, rounds, wasStopped, begunMicros, heldMicros })
  setState(control, FREEZER_STATE.held)
  const left = request.maxFrozenMs - (heldMicros - begunMicros) / 1000
  Atomics.wait(control, FREEZER.state, FREEZER_STATE.held, Math.max(0, left))
  const { held, expired, keeping, releasing, released } = FREEZER_STATE
  let before = Atomics.compareExchange(control, FREEZER.state, held, expired)
  if (before === keeping) {
    Atomics.wait(control, FREEZER.state, keeping)
    before = Atomics.load(control, FREEZER.state)
  }
  // Queued while every thread stands: the first one let go stops them all before it runs an instruction.
  if (request.leaveStopped && before === releasing) process.kill(request.pid, 'SIGSTOP')
  target.release()
  post(port, { kind: 'released', releasedMicros: monotonicMicros() })
  setState(control, before === held ? expired : released)
}

function post(port: MessagePort, message: FreezerMessage): void {
  port.postMessage(message)
}

function setState(control: Int32Array, state: number): void {
  Atomics.store(control, FREEZER.state, state)
  Atomics.notify(control, FREEZER.state)
}
