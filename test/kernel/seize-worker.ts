/**
 * The thread that seizes for the tests: it alone calls ptrace, and its end lets go of everything.
 */
import { parentPort } from 'node:worker_threads'
import { errorToData, type ErrorData } from '../../src/errors.js'
import { SeizedProcess } from '../../src/kernel/seize.js'

/** What the thread is asked to do. */
export type Order =
  | {
      readonly kind: 'stop'
      readonly pid: number
      readonly timeoutMs: number
      readonly freezerState?: string
    }
  | { readonly kind: 'release' }
  /** Stops and releases again and again. */
  | { readonly kind: 'cycle'; readonly pid: number; readonly times: number }

/** What came of it. */
export type Answer =
  | {
      readonly kind: 'stopped'
      readonly threads: readonly number[]
      readonly rounds: number
      readonly wasStopped: boolean
    }
  | { readonly kind: 'released' }
  | { readonly kind: 'failed'; readonly error: ErrorData }

const PATIENCE_MS = 20_000

let held: SeizedProcess | undefined

function stop(pid: number, timeoutMs: number, freezerState?: string): Answer {
  held = new SeizedProcess(pid, freezerState)
  held.stopAll(performance.now() + timeoutMs)
  const { threads, rounds, wasStopped } = held
  return { kind: 'stopped', threads, rounds, wasStopped }
}

function release(): Answer {
  held?.release()
  return { kind: 'released' }
}

function cycle(pid: number, times: number): Answer {
  for (let index = 0; index < times; index += 1) {
    stop(pid, PATIENCE_MS)
    release()
  }
  return { kind: 'released' }
}

function obey(order: Order): Answer {
  try {
    if (order.kind === 'stop') return stop(order.pid, order.timeoutMs, order.freezerState)
    if (order.kind === 'cycle') return cycle(order.pid, order.times)
    return release()
  } catch (error) {
    return { kind: 'failed', error: errorToData(error) }
  }
}

const port = parentPort
port?.on('message', (order: Order) => {
  port.postMessage(obey(order))
})
