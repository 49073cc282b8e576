/**
 * How long a process stands still, as seen from outside: the same measure for every candidate, also for one that does not
 * tell. A thread other than the main one is looked at, since CRIU lets its parasite run in the main thread.
 */
import { readdirSync } from 'node:fs'
import { Worker } from 'node:worker_threads'

/** Milliseconds between two looks. What is measured may be wrong by about as much at each end. */
export const SAMPLE_MS = 0.5

/** What the sampler is started with. */
export interface SamplerStart {
  /** The stat file of the thread to look at. */
  readonly path: string
  /** One word; not 0 ends the sampler. */
  readonly control: Int32Array
}

/** Whether `value` is what the sampler is started with. */
export function isSamplerStart(value: unknown): value is SamplerStart {
  return typeof value === 'object' && value !== null && 'path' in value && 'control' in value
}

/** One look at the thread. */
export interface Look {
  /** Milliseconds. */
  readonly at: number
  readonly stopped: boolean
}

/** Whether a line of /proc/PID/task/TID/stat tells of a thread in a stop. source: fs/proc/array.c get_task_state */
export function isStopped(stat: string): boolean {
  const state = stat.charAt(stat.lastIndexOf(')') + 2)
  return state === 't' || state === 'T'
}

/** Time stopped between two looks: where only one of them saw a stop, half of it. */
export function stoppedBetween(before: Look, now: Look): number {
  return ((Number(before.stopped) + Number(now.stopped)) / 2) * (now.at - before.at)
}

/** Runs `action` while the threads of `pid` are watched; resolves to its result and the time stopped. */
export async function withStoppedTime<Result>(
  pid: number,
  action: () => Promise<Result>,
): Promise<{ readonly result: Result; readonly stoppedMs: number }> {
  const tids = readdirSync(`/proc/${pid}/task`).map(Number)
  const control = new Int32Array(new SharedArrayBuffer(4))
  const start: SamplerStart = { path: `/proc/${pid}/task/${Math.max(...tids)}/stat`, control }
  const worker = new Worker(new URL('./stop-sampler.js', import.meta.url), { workerData: start })
  const ended = new Promise<number>((resolve, reject) => {
    worker.on('message', (message: unknown) => {
      if (hasStoppedMs(message)) resolve(message.stoppedMs)
    })
    worker.once('error', reject)
    worker.once('exit', () => {
      reject(new Error('the sampler ended without a word'))
    })
  })
  // Whoever awaits it below is told; until then a failure is not unhandled.
  ended.catch(() => undefined)
  try {
    await new Promise((resolve) => worker.once('message', resolve))
    const result = await action()
    Atomics.store(control, 0, 1)
    Atomics.notify(control, 0)
    return { result, stoppedMs: await ended }
  } finally {
    Atomics.store(control, 0, 1)
    Atomics.notify(control, 0)
  }
}

function hasStoppedMs(message: unknown): message is { readonly stoppedMs: number } {
  return typeof message === 'object' && message !== null && 'stoppedMs' in message
}
