/**
 * Victim: the main thread has ended, the others live on. /proc/PID shows a zombie without memory.
 *
 *   --threads N    POSIX threads that pause (4)
 *   --pages P      filled pages (1024)
 *
 * A worker talks to the test, by plain reads and writes, since Node's streams need the main thread. It says
 * that the victim is ready when the main thread has become a zombie.
 */
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { Worker } from 'node:worker_threads'
import { systemCall } from './libc.js'
import { fill, hex, mapPages } from './memory.js'
import { startPausedThreads } from './processes.js'
import { allowTracing } from './session.js'

const SYS_EXIT = 60

const { values } = parseArgs({
  options: { threads: { type: 'string', default: '4' }, pages: { type: 'string', default: '1024' } },
})
const pages = Number(values.pages)

allowTracing()
startPausedThreads(Number(values.threads))
const start = mapPages(pages)
fill(start, pages, 1)

const worker = new Worker(fileURLToPath(new URL('leaderless-worker.js', import.meta.url)), {
  workerData: JSON.stringify({ start: hex(start), pages }),
})
worker.once('message', () => {
  systemCall('exit', SYS_EXIT, 0)
})
