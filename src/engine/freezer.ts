/**
 * The coordinator's side of the thread that ptraces: one thread for one freeze, since a thread that was
 * seized and never stopped is let go only by the end of the thread that seized it.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { MessageChannel, receiveMessageOnPort, Worker, type MessagePort } from 'node:worker_threads'
import { errorFromData, messageOf, TidemarkError } from '../errors.js'
import { allocateControl, FREEZER, FREEZER_STATE } from '../tasks/control.js'
import { reapEndedThreads } from '../kernel/seize.js'
import type { StubPlaces } from '../kernel/call-stub.js'
import type { MadeFork } from '../kernel/fork.js'
import type { FreezerMessage, Held, HoldOrder, HoldRequest, OrderResult } from '../tasks/hold-target.js'
import { stuckThread, threadsEnd } from './stuck-threads.js'

/** How often ended threads of the target are reaped while the freezer is at work. */
const REAP_MS = 20
/** Beyond the seize's own deadline: the freezer answers well before. */
const ANSWER_MARGIN_MS = 5_000
/** How long the thread may take to load, and to end: it may be in the kernel, for instance asking for a tracee. */
const START_MS = 60_000
const END_MS = 10_000
/** In which a fork's memory is given back. */
const END_FORK_MS = 10_000

/** A thread that can freeze one target once. */
export class Freezer {
  readonly #control = allocateControl(FREEZER.words)
  readonly #port: MessagePort
  readonly #worker: Worker
  readonly #exited: Promise<void>
  #pid = 0
  #maxFrozenMs = 0
  #hasFork = false

  private constructor(practises: boolean) {
    const { port1, port2 } = new MessageChannel()
    this.#port = port1
    port1.unref()
    this.#worker = new Worker(new URL('../../workers/freezer.js', import.meta.url), {
      workerData: { control: this.#control, port: port2, practises },
      transferList: [port2],
    })
    this.#exited = new Promise((resolve) => {
      this.#worker.once('exit', () => {
        resolve()
      })
    })
  }

  /**
   * Starts the thread; done when it has loaded.
   *
   * @param practises - it may have to make the target run system calls
   */
  static async start(practises = false): Promise<Freezer> {
    const freezer = new Freezer(practises)
    const started = new Promise<void>((resolve, reject) => {
      freezer.#worker.on('error', (error) => {
        reject(new TidemarkError('WORKER_FAILED', `the freezer thread died: ${messageOf(error)}`, {}, error))
      })
      freezer.#worker.once('message', () => {
        resolve()
      })
    })
    if (await threadsEnd(started, START_MS)) return freezer
    throw stuckThread('the freezer thread')
  }

  /** Whether the target stands still. False from the moment the freezer lets go on its own deadline. */
  get holds(): boolean {
    return Atomics.load(this.#control, FREEZER.state) === FREEZER_STATE.held
  }

  /** Stops every thread of the target; blocks until it stands. Throws what SeizedProcess.stopAll throws. */
  freeze(request: HoldRequest): Held {
    this.#pid = request.pid
    this.#maxFrozenMs = request.maxFrozenMs
    this.#port.postMessage(request)
    this.#setState(FREEZER_STATE.seizing)
    const end = performance.now() + request.seizeTimeoutMs + ANSWER_MARGIN_MS
    while (
      Atomics.wait(this.#control, FREEZER.state, FREEZER_STATE.seizing, REAP_MS) === 'timed-out' &&
      performance.now() < end
    ) {
      reapEndedThreads(request.pid)
    }
    const message = this.#receive()
    if (message?.kind === 'held') return message
    if (message?.kind === 'failed') throw errorFromData(message.error)
    throw new TidemarkError('WORKER_FAILED', 'the freezer thread did not answer; the target is let go', {
      pid: request.pid,
    })
  }

  /**
   * Opens a userfaultfd inside the held target; its number there. Blocks, some 0.6 ms; the target stays held, also
   * after a failure.
   *
   * Throws `FROZEN_TOO_LONG` where the freezer had let go, or has to now; `INJECTION_REFUSED` and
   * `SYSCALL_FAILED` as openUserfaultfd of kernel/remote-descriptors does.
   */
  openUserfaultfd(): number {
    const { fd } = this.#order({ kind: 'openUserfaultfd' })
    if (fd !== undefined) return fd
    throw new TidemarkError('INTERNAL', 'the freezer thread opened nothing')
  }

  /** Closes descriptor `fd` of the held target. Blocks and throws as {@link openUserfaultfd} does. */
  closeDescriptor(fd: number): void {
    this.#order({ kind: 'closeDescriptor', fd })
  }

  /** Makes ready for {@link fork}: all that changes the target before it. Blocks and throws as {@link fork} does. */
  prepareFork(places: StubPlaces): void {
    this.#order({ kind: 'prepareFork', places })
  }

  /**
   * Forks the held target, for which it has been made ready. The fork stands, and lives until {@link dropFork} or the
   * freezer's end. Blocks, some 20 ms for each gibibyte of small pages.
   *
   * Throws as {@link openUserfaultfd} does, and `FORK_FAILED`.
   */
  fork(): MadeFork {
    this.#hasFork = true
    const { fork } = this.#order({ kind: 'fork' })
    if (fork !== undefined) return fork
    throw new TidemarkError('INTERNAL', 'the freezer thread made no fork')
  }

  /**
   * Does `work`, of microseconds, while the target is held beyond any deadline; false, with nothing done, where the freezer
   * had let go before. Throws what `work` throws.
   */
  steadily(work: () => void): boolean {
    const { held, steady } = FREEZER_STATE
    if (Atomics.compareExchange(this.#control, FREEZER.state, held, steady) !== held) return false
    try {
      work()
      return true
    } finally {
      this.#setState(held)
    }
  }

  /** Lets the fork of a target that runs again end; does not wait for that. */
  dropFork(): void {
    const { released, abandoned } = FREEZER_STATE
    const before = Atomics.compareExchange(this.#control, FREEZER.state, released, abandoned)
    if (before === released) Atomics.notify(this.#control, FREEZER.state)
  }

  /** Has the held target wait for `children`, zombies that a killed run of ours left. Throws as {@link openUserfaultfd} does. */
  reapChildren(children: readonly number[]): void {
    this.#order({ kind: 'reapChildren', children })
  }

  /** Holds the target without a deadline from now on. Throws `FROZEN_TOO_LONG` where the freezer had let go before. */
  keep(maxFrozenMs: number): void {
    this.#leaveHeld(FREEZER_STATE.keeping, maxFrozenMs)
  }

  /**
   * Lets the target go on, or be stopped by SIGSTOP where that was asked for; blocks until it does. When that
   * was, in microseconds.
   *
   * Throws `FROZEN_TOO_LONG` where the freezer had let go by itself before.
   */
  thaw(maxFrozenMs: number): number {
    const { keeping, releasing } = FREEZER_STATE
    if (Atomics.load(this.#control, FREEZER.state) === keeping) this.#setState(releasing)
    else this.#leaveHeld(releasing, maxFrozenMs)
    Atomics.wait(this.#control, FREEZER.state, releasing, ANSWER_MARGIN_MS)
    const message = this.#receive()
    if (message?.kind === 'released') return message.releasedMicros
    throw new TidemarkError('WORKER_FAILED', 'the freezer thread did not answer; the target is let go')
  }

  /** Lets the target go on after a failure, if it still stands; blocks until it does. */
  letGo(): void {
    const { held, keeping, abandoned } = FREEZER_STATE
    const before = Atomics.compareExchange(this.#control, FREEZER.state, held, abandoned)
    if (before !== held && before !== keeping) return
    this.#setState(abandoned)
    Atomics.wait(this.#control, FREEZER.state, abandoned, ANSWER_MARGIN_MS)
  }

  /** Ends the thread, and with it any hold, and any fork. */
  async close(): Promise<void> {
    this.#setState(FREEZER_STATE.abandoned)
    if (this.#hasFork) await Promise.race([this.#exited, sleep(END_FORK_MS, undefined, { ref: false })])
    void this.#worker.terminate()
    if (!(await threadsEnd(this.#exited, END_MS))) this.#worker.unref()
  }

  /** Has `order` carried out. Where the freezer has let go nobody reads it. */
  #order(order: HoldOrder): OrderResult {
    const { asked } = FREEZER_STATE
    this.#port.postMessage(order)
    this.#leaveHeld(asked, this.#maxFrozenMs)
    Atomics.wait(this.#control, FREEZER.state, asked, this.#maxFrozenMs + ANSWER_MARGIN_MS)
    const answer = this.#receive()
    if (answer?.kind === 'done') return answer.result
    if (answer?.kind === 'orderFailed') throw errorFromData(answer.error)
    if (answer?.kind === 'late') throw frozenTooLong(this.#pid, this.#maxFrozenMs)
    throw new TidemarkError('WORKER_FAILED', 'the freezer thread did not answer; the target is let go')
  }

  #leaveHeld(state: number, maxFrozenMs: number): void {
    const { held } = FREEZER_STATE
    if (Atomics.compareExchange(this.#control, FREEZER.state, held, state) !== held)
      throw frozenTooLong(this.#pid, maxFrozenMs)
    Atomics.notify(this.#control, FREEZER.state)
  }

  #receive(): FreezerMessage | undefined {
    const received: { message: FreezerMessage } | undefined = receiveMessageOnPort(this.#port)
    return received?.message
  }

  #setState(state: number): void {
    Atomics.store(this.#control, FREEZER.state, state)
    Atomics.notify(this.#control, FREEZER.state)
  }
}

function frozenTooLong(pid: number, maxFrozenMs: number): TidemarkError {
  return new TidemarkError(
    'FROZEN_TOO_LONG',
    `process ${String(pid)} had stood still for ${String(maxFrozenMs)} ms (--max-frozen) and was let go; nothing was saved`,
    { pid },
  )
}
