/**
 * A thread that looks at the state of one thread of the victim, again and again, and adds up for how long it was seen
 * in a stop. Started by stopped-time.ts.
 */
import { closeSync, openSync, readSync } from 'node:fs'
import { parentPort, workerData } from 'node:worker_threads'
import { SAMPLE_MS, isSamplerStart, isStopped, stoppedBetween, type SamplerStart } from './stopped-time.js'

function sample({ path, control }: SamplerStart): { readonly stoppedMs: number; readonly samples: number } {
  const fd = openSync(path, 'r')
  const text = Buffer.alloc(512)
  let stoppedMs = 0
  let samples = 0
  let before = { at: performance.now(), stopped: false }
  try {
    while (Atomics.load(control, 0) === 0) {
      // One read at offset 0 of a file that stays open: the least that a sample can cost the machine.
      const length = readSync(fd, text, 0, text.length, 0)
      const now = { at: performance.now(), stopped: isStopped(text.toString('latin1', 0, length)) }
      stoppedMs += stoppedBetween(before, now)
      before = now
      samples += 1
      Atomics.wait(control, 0, 0, SAMPLE_MS)
    }
  } finally {
    closeSync(fd)
  }
  return { stoppedMs, samples }
}

parentPort?.postMessage('ready')
const start: unknown = workerData
if (!isSamplerStart(start)) throw new Error('not started by stopped-time.ts')
parentPort?.postMessage(sample(start))
