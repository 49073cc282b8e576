/**
 * The freezer: the one thread that ptraces. It stops the target when asked, holds it until it is told to
 * let go or its own deadline comes, and ends. Whatever ends the thread or the process ends the hold.
 */
import { receiveMessageOnPort, type MessagePort } from 'node:worker_threads'
import { errorToData, type ErrorData } from '../errors.js'
import { monotonicMicros } from '../kernel/clock.js'
import { endFork, ForkMaker, type MadeFork, reapChildren } from '../kernel/fork.js'
import { closeDescriptor, openUserfaultfd } from '../kernel/remote-descriptors.js'
import { SeizedProcess } from '../kernel/seize.js'
import type { StubPlaces } from '../kernel/call-stub.js'
import type { HeldThreads } from '../kernel/thread-choice.js'
import { FREEZER, FREEZER_STATE } from './control.js'
import { practise } from '../kernel/practice.js'

/** What the thread gets at its start. */
export interface HoldTask {
  readonly control: Int32Array
  readonly port: MessagePort
  /** Whether it may have to make the target run system calls, and so practises that before. */
  readonly practises?: boolean
}

/** Whether a thread's start data is a {@link HoldTask}. */
export function isHoldTask(data: unknown): data is HoldTask {
  return typeof data === 'object' && data !== null && 'control' in data && 'port' in data
}

/** What to freeze, and for how long at most. */
export interface HoldRequest {
  readonly pid: number
  readonly seizeTimeoutMs: number
  readonly maxFrozenMs: number
  /** State file of the version 1 freezer cgroup that holds the target already. */
  readonly freezerState: string | undefined
  /** Leave the target stopped by SIGSTOP at the thaw. */
  readonly leaveStopped: boolean
}

/** The target stands still. Times in microseconds of the monotonic clock. */
export interface Held {
  readonly kind: 'held'
  readonly threads: readonly number[]
  readonly rounds: number
  readonly wasStopped: boolean
  readonly begunMicros: number
  readonly heldMicros: number
}

/** The target runs again. */
export interface Released {
  readonly kind: 'released'
  readonly releasedMicros: number
}

/** The target could not be frozen; it runs on. */
export interface HoldFailed {
  readonly kind: 'failed'
  readonly error: ErrorData
}

/** What the target is to do while it is held. */
export type HoldOrder =
  | { readonly kind: 'openUserfaultfd' }
  | { readonly kind: 'closeDescriptor'; readonly fd: number }
  | { readonly kind: 'prepareFork'; readonly places: StubPlaces }
  | { readonly kind: 'fork' }
  | { readonly kind: 'reapChildren'; readonly children: readonly number[] }

/** An order was carried out. */
export interface OrderDone {
  readonly kind: 'done'
  /** What the order was about. */
  readonly result: OrderResult
}

/** A descriptor of the target; a fork; or nothing. */
export interface OrderResult {
  readonly fd?: number
  readonly fork?: MadeFork
}

/** An order could not be carried out; the target is held as before. */
export interface OrderFailed {
  readonly kind: 'orderFailed'
  readonly error: ErrorData
}

/** The freezer's deadline came before the order was carried out; what it had done by then is undone. */
export interface OrderLate {
  readonly kind: 'late'
}

type OrderAnswer = OrderDone | OrderFailed | OrderLate

/** What the freezer tells the coordinator. */
export type FreezerMessage = Held | Released | HoldFailed | OrderAnswer

/** Serves one freeze. */
export function holdTarget({ control, port, practises }: HoldTask): void {
  SeizedProcess.rehearse()
  if (practises === true) practise()
  // Unless the coordinator has asked already: what it has set must stand.
  Atomics.compareExchange(control, FREEZER.state, FREEZER_STATE.starting, FREEZER_STATE.ready)
  Atomics.wait(control, FREEZER.state, FREEZER_STATE.ready)
  const received: { message: HoldRequest } | undefined = receiveMessageOnPort(port)
  if (received === undefined) return
  const request = received.message
  const target = new SeizedProcess(request.pid, request.freezerState)
  const begunMicros = monotonicMicros()
  try {
    target.stopAll(performance.now() + request.seizeTimeoutMs)
  } catch (error) {
    post(port, { kind: 'failed', error: errorToData(error) })
    setState(control, FREEZER_STATE.failed)
    return
  }
  hold(control, port, request, target, begunMicros)
}

function hold(
  control: Int32Array,
  port: MessagePort,
  request: HoldRequest,
  target: SeizedProcess,
  begunMicros: number,
): void {
  const heldMicros = monotonicMicros()
  const { threads, rounds, wasStopped } = target
  post(port, { kind: 'held', threads, rounds, wasStopped, begunMicros, heldMicros })
  setState(control, FREEZER_STATE.held)
  const deadline = performance.now() + request.maxFrozenMs - (heldMicros - begunMicros) / 1000
  const { held, asked, steady, expired, keeping, releasing, released } = FREEZER_STATE
  const orders = new OrderService({ pid: request.pid, threads, traced: target.traced }, deadline)
  let before = untilAsked(control, deadline)
  while (before === asked || before === steady) {
    before = before === asked ? serveOrder(control, port, orders) : untilChanged(control, steady)
    if (before === held) before = untilAsked(control, deadline)
  }
  while (before === keeping) before = untilChanged(control, keeping)
  orders.close()
  // Queued while every thread stands: the first one let go stops them all before it runs an instruction.
  if (request.leaveStopped && before === releasing) process.kill(request.pid, 'SIGSTOP')
  target.release()
  post(port, { kind: 'released', releasedMicros: monotonicMicros() })
  const wasAsked = before === releasing
  setState(control, before === held ? expired : released)
  if (orders.fork === undefined) return
  // It is read now. Whoever wants no more of it sets another state, or ends this thread and so the fork.
  if (wasAsked) Atomics.wait(control, FREEZER.state, released)
  endFork(orders.fork)
}

/** Waits until the state is another than `state`; that one. */
function untilChanged(control: Int32Array, state: number): number {
  Atomics.wait(control, FREEZER.state, state)
  return Atomics.load(control, FREEZER.state)
}

/** Waits until the state is another than `held`, or makes it `expired` at the deadline. The state before that. */
function untilAsked(control: Int32Array, deadline: number): number {
  const { held, expired } = FREEZER_STATE
  for (;;) {
    const state = Atomics.load(control, FREEZER.state)
    if (state !== held) return state
    const left = deadline - performance.now()
    if (left <= 0) return Atomics.compareExchange(control, FREEZER.state, held, expired)
    Atomics.wait(control, FREEZER.state, held, left)
  }
}

/**
 * Carries out the order that waits in the port. The state after that: `held`, unless the coordinator has given up.
 *
 * The answer is there before the state changes, so whoever sees the change finds it.
 */
function serveOrder(control: Int32Array, port: MessagePort, orders: OrderService): number {
  const received: { message: HoldOrder } | undefined = receiveMessageOnPort(port)
  if (received !== undefined) post(port, orders.answer(received.message))
  const { asked, held } = FREEZER_STATE
  const before = Atomics.compareExchange(control, FREEZER.state, asked, held)
  Atomics.notify(control, FREEZER.state)
  return before === asked ? held : before
}

/** Carries out orders on a held target until a deadline. */
class OrderService {
  readonly #target: HeldThreads
  readonly #deadline: number
  #maker: ForkMaker | undefined
  /** The fork that was made, by its pid. */
  fork: number | undefined

  constructor(target: HeldThreads, deadline: number) {
    this.#target = target
    this.#deadline = deadline
  }

  answer(order: HoldOrder): OrderAnswer {
    try {
      const result = this.#carryOut(order)
      if (performance.now() < this.#deadline) return { kind: 'done', result }
      // Nobody could use it any more: the target is let go at once.
      if (order.kind === 'openUserfaultfd') closeDescriptor(this.#target, result.fd ?? -1)
      return { kind: 'late' }
    } catch (error) {
      return performance.now() < this.#deadline
        ? { kind: 'orderFailed', error: errorToData(error) }
        : { kind: 'late' }
    }
  }

  /** Puts a thread back that was borrowed for a fork which was not made. */
  close(): void {
    try {
      this.#maker?.close()
    } catch {
      // It finds its way back by itself.
    }
  }

  #carryOut(order: HoldOrder): OrderResult {
    const options = { deadline: this.#deadline }
    switch (order.kind) {
      case 'openUserfaultfd':
        return { fd: openUserfaultfd(this.#target, options) }
      case 'closeDescriptor':
        // It may be that of a dump which has failed between the two steps of a fork.
        this.close()
        closeDescriptor(this.#target, order.fd, options)
        return {}
      case 'prepareFork':
        this.#maker = new ForkMaker({ ...this.#target, places: order.places }, options)
        return {}
      case 'fork':
        return this.#fork()
      case 'reapChildren':
        reapChildren(this.#target, order.children, options)
        return {}
    }
  }

  #fork(): OrderResult {
    const fork = this.#maker?.make()
    if (fork === undefined) return {}
    this.fork = fork.pid
    return { fork }
  }
}

function post(port: MessagePort, message: FreezerMessage): void {
  port.postMessage(message)
}

function setState(control: Int32Array, state: number): void {
  Atomics.store(control, FREEZER.state, state)
  Atomics.notify(control, FREEZER.state)
}
