/**
 * Seizes processes from a thread of its own, which ends with the test, whatever happens: so does every hold.
 */
import { Worker } from 'node:worker_threads'
import { errorFromData } from '../../src/errors.js'
import type { Answer, Order } from './seize-worker.js'

/** The process stands. */
export type Stopped = Extract<Answer, { kind: 'stopped' }>

/** A thread that holds at most one process. */
export interface Seizer {
  /** Throws what SeizedProcess.stopAll throws. */
  readonly stop: (pid: number, options?: { timeoutMs?: number; freezerState?: string }) => Promise<Stopped>
  readonly release: () => Promise<void>
  /** Stops and releases `pid` so many times. */
  readonly cycle: (pid: number, times: number) => Promise<void>
  /** Ends the thread, whatever it is doing. May be called again. */
  readonly end: () => Promise<void>
}

interface Pending {
  readonly resolve: (answer: Answer) => void
  readonly reject: (error: Error) => void
}

const PATIENCE_MS = 20_000

/** Runs `use` with a fresh thread. */
export async function withSeizer<Result>(use: (seizer: Seizer) => Promise<Result>): Promise<Result> {
  const worker = new Worker(new URL('./seize-worker.js', import.meta.url))
  let pending: Pending | undefined
  worker.on('message', (answer: Answer) => {
    pending?.resolve(answer)
  })
  worker.on('error', (error) => {
    pending?.reject(error)
  })
  worker.on('exit', () => {
    pending?.reject(new Error('the seizing thread has ended'))
  })
  const ask = async (order: Order): Promise<Answer> => {
    const answer = await new Promise<Answer>((resolve, reject) => {
      pending = { resolve, reject }
      worker.postMessage(order)
    })
    if (answer.kind === 'failed') throw errorFromData(answer.error)
    return answer
  }
  const stop: Seizer['stop'] = async (pid, { timeoutMs = PATIENCE_MS, ...rest } = {}) => {
    const answer = await ask({ kind: 'stop', pid, timeoutMs, ...rest })
    if (answer.kind !== 'stopped') throw new Error(`not stopped but ${answer.kind}`)
    return answer
  }
  const end = async (): Promise<void> => {
    await worker.terminate()
  }
  try {
    return await use({
      stop,
      release: async () => {
        await ask({ kind: 'release' })
      },
      cycle: async (pid, times) => {
        await ask({ kind: 'cycle', pid, times })
      },
      end,
    })
  } finally {
    await end()
  }
}
