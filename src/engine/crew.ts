/**
 * The crew: the pool of worker threads, each in one long task, working in phases.
 *
 * Before the freeze and after the thaw a phase is awaited; while the target stands still the coordinator
 * waits for it without turning its event loop.
 */
import { MessageChannel, receiveMessageOnPort, type MessagePort } from 'node:worker_threads'
import { setTimeout as sleep } from 'node:timers/promises'
import { Piscina } from 'piscina'
import { errorFromData, messageOf, TidemarkError } from '../errors.js'
import { allocateControl, CREW } from '../tasks/control.js'
import type { Job, JobReport } from '../tasks/jobs.js'
import { stuckThread, threadsEnd } from './stuck-threads.js'

const POLL_MS = 1
/** How long a thread may take to load; to end its long task, then it is terminated; and to end after that. */
const START_MS = 60_000
const END_MS = 2_000
const DESTROY_MS = 2_000
/** How long the threads may take to come to the end of a piece of work when they are to stop. */
const STOP_MS = 15_000
/** How long a thread may take for one batch of pages of a target that runs: minutes of swapping would be no use. */
const STALL_MS = 30_000
/** How often a coordinator that waits while the target stands still looks whether to give up. */
const GIVE_UP_MS = 20

/** A pool whose threads have all loaded and wait for jobs. Closed with {@link Crew.close}. */
export class Crew {
  readonly size: number
  readonly #pool: Piscina
  readonly #control = allocateControl(CREW.words)
  readonly #ports: MessagePort[] = []
  readonly #tasks: Promise<unknown>[] = []
  #crash: unknown
  #ended = false

  private constructor(size: number) {
    this.size = size
    this.#pool = new Piscina({
      filename: new URL('../../workers/crew.js', import.meta.url).href,
      minThreads: size,
      maxThreads: size,
      idleTimeout: Infinity,
    })
    // A thread that dies between tasks; without a listener the whole process would die of it.
    this.#pool.on('error', (error: unknown) => {
      this.#crash ??= error
    })
  }

  /** Starts `size` threads; done when each has loaded all it needs. */
  static async start(size: number): Promise<Crew> {
    const crew = new Crew(size)
    for (let thread = 0; thread < size; thread++) crew.#startThread()
    try {
      const deadline = performance.now() + START_MS
      while (Atomics.load(crew.#control, CREW.ready) < size) {
        crew.#throwCrash()
        if (performance.now() > deadline) throw stuckThread('a worker thread that is to start')
        await sleep(POLL_MS)
      }
    } catch (error) {
      await crew.close()
      throw error
    }
    return crew
  }

  /** Pieces of work done in the phase that runs. */
  get progress(): number {
    return Atomics.load(this.#control, CREW.progress)
  }

  /** Makes the threads stop between two pieces of work. */
  stop(): void {
    Atomics.store(this.#control, CREW.stop, 1)
  }

  /**
   * Lets every thread work on its share of `job`; `onTick` is called now and then. Throws `WORKER_FAILED` where a thread is
   * stuck: it neither stops when it is told to, nor gets on with copying.
   */
  async run(job: Job, onTick: () => void = () => undefined): Promise<JobReport[]> {
    this.#begin(job)
    let last = { at: performance.now(), progress: 0, stopping: 0 }
    while (Atomics.load(this.#control, CREW.done) < this.size) {
      this.#throwCrash()
      await sleep(POLL_MS)
      onTick()
      const stopping = Atomics.load(this.#control, CREW.stop)
      const now = performance.now()
      if (stopping !== last.stopping || this.progress !== last.progress)
        last = { at: now, progress: this.progress, stopping }
      const patience = stopping !== 0 ? STOP_MS : job.kind === 'copy' ? STALL_MS : Infinity
      if (now - last.at > patience) throw stuckThread('a worker thread')
    }
    return this.#collect()
  }

  /**
   * The same without turning the event loop.
   *
   * @param giveUp - asked every 20 ms; true makes it throw `FROZEN_TOO_LONG`
   */
  runBlocking(job: Job, giveUp: () => boolean): JobReport[] {
    this.#begin(job)
    for (;;) {
      const done = Atomics.load(this.#control, CREW.done)
      if (done === this.size) return this.#collect()
      if (Atomics.wait(this.#control, CREW.done, done, GIVE_UP_MS) !== 'timed-out' || !giveUp()) continue
      this.stop()
      const whose = 'pid' in job ? ` of process ${String(job.pid)}` : ''
      throw new TidemarkError(
        'FROZEN_TOO_LONG',
        `finding and copying the memory${whose} took longer than it may stand still (--max-frozen); nothing was saved`,
        'pid' in job ? { pid: job.pid } : {},
      )
    }
  }

  /** Ends the threads; false where one is stuck, which may go on to use what it was given. */
  async close(): Promise<boolean> {
    if (!this.#ended) {
      this.#ended = true
      this.stop()
      this.#post({ kind: 'end' })
    }
    await Promise.race([Promise.allSettled(this.#tasks), sleep(END_MS, undefined, { ref: false })])
    const { threads } = this.#pool
    const ended = await threadsEnd(this.#pool.destroy(), DESTROY_MS)
    if (!ended) for (const thread of threads) thread.unref()
    return ended
  }

  #startThread(): void {
    const { port1, port2 } = new MessageChannel()
    this.#ports.push(port1)
    port1.unref()
    const task = this.#pool.run({ control: this.#control, port: port2 }, { transferList: [port2] })
    task.catch((error: unknown) => {
      this.#crash ??= error
    })
    this.#tasks.push(task)
  }

  #throwCrash(): void {
    if (this.#crash === undefined) return
    throw new TidemarkError(
      'WORKER_FAILED',
      `a worker thread died: ${messageOf(this.#crash)}`,
      {},
      this.#crash,
    )
  }

  #begin(job: Job): void {
    this.#throwCrash()
    for (const word of [CREW.done, CREW.next, CREW.stop, CREW.progress]) Atomics.store(this.#control, word, 0)
    this.#post(job)
  }

  #post(job: Job): void {
    for (const port of this.#ports) port.postMessage(job)
    Atomics.add(this.#control, CREW.phase, 1)
    Atomics.notify(this.#control, CREW.phase)
  }

  /** The threads' reports; the first error is thrown. */
  #collect(): JobReport[] {
    const reports: JobReport[] = []
    for (const port of this.#ports) {
      const received: { message: JobReport } | undefined = receiveMessageOnPort(port)
      if (received === undefined) throw new TidemarkError('INTERNAL', 'a worker thread gave no report')
      reports.push(received.message)
    }
    const failed = reports.find((report) => report.error !== undefined)
    if (failed?.error !== undefined) throw errorFromData(failed.error)
    return reports
  }
}
