/**
 * A worker of the `threads` victim: makes four short-lived POSIX threads, waits for their end, and so on for ever.
 */
import { parentPort, workerData } from 'node:worker_threads'
import { declare, functionAddress } from './libc.js'
import { startThread } from './processes.js'

const AT_ONCE = 4
const LIFE_MICROSECONDS = 200

const join = declare('pthread_join', 'int', ['uintptr_t', 'uintptr_t'])
const usleep = functionAddress('usleep')
const shared: unknown = workerData
if (!isCounter(shared)) throw new Error('no counter given')

function isCounter(value: unknown): value is BigInt64Array {
  return Object.prototype.toString.call(value) === '[object BigInt64Array]'
}

function churn(counter: BigInt64Array): never {
  for (let round = 0; ; round += 1) {
    const handles = Array.from({ length: AT_ONCE }, () => startThread(usleep, LIFE_MICROSECONDS))
    for (const handle of handles) join(handle, 0)
    Atomics.add(counter, 0, BigInt(AT_ONCE))
    if (round === 0) parentPort?.postMessage('churning')
  }
}

churn(shared)
