/**
 * Victim: many threads.
 *
 *   --threads N      POSIX threads that pause for ever (200)
 *   --spin K         POSIX threads that burn CPU, each adding to a counter of its own (0)
 *   --churn C        JS workers that make and join short-lived POSIX threads without end (0)
 *
 * Facts: `tids` at the time of the ready line, `counters`, the address of the K counters of 8 bytes, and
 * `start`, `pages` of some filled memory. Commands: `tids`; `counts` tells the counters; `churned` the number of
 * threads that came and went.
 */
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { Worker } from 'node:worker_threads'
import { viewOf } from './libc.js'
import { countForever, loadCode } from './machine-code.js'
import { fill, hex, mapPages } from './memory.js'
import { ownThreads, startPausedThreads, startThread } from './processes.js'
import { serve } from './session.js'

const FILLED_PAGES = 1024

const { values } = parseArgs({
  options: {
    threads: { type: 'string', default: '200' },
    spin: { type: 'string', default: '0' },
    churn: { type: 'string', default: '0' },
  },
})
const spinners = Number(values.spin)
const churners = Number(values.churn)

const start = mapPages(FILLED_PAGES)
fill(start, FILLED_PAGES, 1)

const counters = mapPages(1)
const counts = new BigUint64Array(viewOf(counters, 8 * Math.max(1, spinners)))
const churned = new BigInt64Array(new SharedArrayBuffer(8))

function startSpinners(): void {
  const code = loadCode(countForever)
  for (let index = 0; index < spinners; index += 1) startThread(code, counters + 8 * index)
}

/** Starts the workers and resolves when each has made its first thread. */
async function startChurners(): Promise<void> {
  const program = fileURLToPath(new URL('churn-worker.js', import.meta.url))
  const workers = Array.from({ length: churners }, () => new Worker(program, { workerData: churned }))
  await Promise.all(
    workers.map(
      (worker) =>
        new Promise((resolve, reject) => {
          worker.once('message', resolve)
          worker.once('error', reject)
        }),
    ),
  )
}

startPausedThreads(Number(values.threads))
startSpinners()
await startChurners()

serve(
  { tids: ownThreads(), counters: hex(counters), start: hex(start), pages: FILLED_PAGES },
  {
    tids: () => ({ tids: ownThreads() }),
    counts: () => ({ counts: [...counts].slice(0, spinners).map(Number) }),
    churned: () => ({ churned: Number(Atomics.load(churned, 0)) }),
  },
)
