/**
 * The sender of the `busy-signals` victim: queues one real-time signal after another to its own process.
 */
import { parentPort, workerData } from 'node:worker_threads'
import { declare, viewOf } from './libc.js'

interface Order {
  readonly state: BigInt64Array
  readonly signal: number
  readonly ahead: number
}

function isOrder(value: unknown): value is Order {
  return (
    typeof value === 'object' && value !== null && 'state' in value && 'signal' in value && 'ahead' in value
  )
}

const sigqueue = declare('sigqueue', 'int', ['int', 'int', 'uintptr_t'])
const order: unknown = workerData
if (!isOrder(order)) throw new Error('no order given')

/** Sends until told to stop. A full queue (EAGAIN) counts as not sent. */
function send({ state, signal, ahead }: Order): void {
  const received = new BigInt64Array(viewOf(Number(Atomics.load(state, 3)), 8))
  while (Atomics.load(state, 1) === 0n) {
    if (Atomics.load(state, 0) - Atomics.load(received, 0) > BigInt(ahead)) continue
    if (sigqueue(process.pid, signal, 0) === 0) Atomics.add(state, 0, 1n)
  }
  Atomics.store(state, 2, 1n)
}

parentPort?.postMessage('sending')
send(order)
