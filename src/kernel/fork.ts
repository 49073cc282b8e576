/**
 * A fork of a held target: a copy of its memory, made by the kernel page table by page table, which stands still
 * and is read while the target runs on.
 *
 * The target makes it through a go-between, and knows nothing of either of them afterwards:
 *
 *   target      clone ─▶ wait4 ············································· ─▶ its own registers
 *   go-between           shares the memory; no descriptor ·· stands ·· clone, exit
 *   fork                                                               stands, belongs to init, killed when it was read
 *
 * The target sleeps in wait4 while the fork is made, and does not return to its program from it: the kernel writes to a
 * thread's memory when it does (the area of rseq), and what is written after the fork is not in the fork.
 *
 *   step        done by then                                            kill
 *   exit frame  the frame by which every child ends itself              nothing was changed
 *   go-between  it is born, traced, with that frame as its stack        it ends itself; a zombie stays
 *   bound       it dies with us                                         it dies; a zombie stays
 *   descriptors it has a table of descriptors of its own, empty         the same
 *   forked      the fork is born, bound like the go-between             both die; a zombie stays
 *   expendable  the kernel would kill the fork first, short of memory   the same
 *   gone        the go-between has ended, the target has waited for it  the fork dies, init gets it
 *
 * A zombie that stays in the target makes no signal and is no child for wait without __WALL; the next run reaps
 * it, see {@link reapChildren}. No descriptor is copied at any time: no pipe, socket or lock can be held open.
 *
 * source: kernel/fork.c, kernel/exit.c, fs/file.c, man 2 clone, ptrace, close_range
 */
import { writeFileSync } from 'node:fs'
import { TidemarkError } from '../errors.js'
import { CLONE, CLOSE_RANGE_UNSHARE, P_PID, PTRACE, PTRACE_O, SIGINFO, SYS, WAIT } from './abi.js'
import { awaitStop } from './await-stop.js'
import type { AddressRange } from './call-stub.js'
import { callInChild, type BornChild } from './child-call.js'
import type { InjectionOptions, InjectionStep } from './borrowed-thread.js'
import { endOf, openInjection, type OpenInjection, withInjection } from './injection.js'
import { errnoName, errnoNameOf, ptrace, waitid } from './libc.js'
import { lastNumber, listThreads, readProcText, readStat, readStatus } from './procfs.js'
import { withRegisters } from './registers.js'
import { BARE_FRAME_BYTES, buildBareFrame } from './signal-frame.js'
import type { HeldThreads } from './thread-choice.js'

/** Exit status of a go-between, by which a later run knows one that stayed. */
const EXIT_STATUS = 0x54
const SIGKILL = 9
const ALL_SIGNALS = 0xffffffffffffffffn
const ALL_DESCRIPTORS = 0xffffffff
/** Of all processes the one to be killed. source: include/uapi/linux/oom.h */
const OOM_SCORE_ADJ_MAX = '1000'
const BIRTH_TIMEOUT_MS = 1000
const END_TIMEOUT_MS = 10_000
const PAUSE_MS = 0.2

const pause = new Int32Array(new SharedArrayBuffer(4))

/** A fork that has been made. */
export interface MadeFork {
  readonly pid: number
  /** Where the fork holds something else than the target, in bytes: what was needed to make it. */
  readonly spoiled: readonly AddressRange[]
}

/** Ends a fork, or a child of our own, and waits until it is gone. Called by the thread that traces it. */
export function endFork(fork: number): void {
  kill(fork)
  awaitEnd(fork, performance.now() + END_TIMEOUT_MS)
}

/** Whether the fork stands as it was made: nobody has killed it. */
export function isWhole(fork: number): boolean {
  return readStat(fork)?.state === 't'
}

/** Zombies among the target's children that look like go-betweens of a run that was killed, by their pids. */
export function findLeftChildren(pid: number): number[] {
  const children = listThreads(pid).flatMap((tid) =>
    (readProcText(`/proc/${String(pid)}/task/${String(tid)}/children`) ?? '').split(' ').filter(Boolean),
  )
  return children.map(Number).filter((child) => {
    const stat = readStat(child)
    if (stat?.state !== 'Z' || stat.exitSignal !== 0) return false
    return [EXIT_STATUS << 8, SIGKILL].includes(stat.exitStatus)
  })
}

/** Has the held target wait for `children`, zombies of its own. Throws what withInjection throws. */
export function reapChildren(
  held: HeldThreads,
  children: readonly number[],
  options: InjectionOptions = {},
): void {
  const inner = children.map((child) => lastNumber(readStatus(child)?.get('NSpid')))
  withInjection(held, options, (call) => {
    for (const child of inner) if (child !== undefined) call(SYS.wait4, child, 0, WAIT.ALL + WAIT.NOHANG, 0)
  })
}

/**
 * The way to one fork of a held target, in two steps: between them its memory may be looked at, and nothing that was
 * needed for the fork shows up in it afterwards. The fork is traced by the calling thread, and ends with it.
 *
 * Throws `FORK_FAILED` where the kernel makes none, e.g. EAGAIN (RLIMIT_NPROC, pids.max) or ENOMEM, and what
 * openInjection throws.
 */
export class ForkMaker {
  readonly #held: HeldThreads
  readonly #injection: OpenInjection
  readonly #deadline: number
  readonly #onStep: (step: InjectionStep) => void
  readonly #exitFrame: number
  #goBetween: GoBetween | undefined
  #isClosed = false

  /** Makes the go-between. The caller closes it, whatever happens. */
  constructor(held: HeldThreads, options: InjectionOptions) {
    this.#held = held
    this.#deadline = options.deadline ?? Infinity
    this.#onStep = options.onStep ?? (() => undefined)
    this.#injection = openInjection(held, { ...options, forks: true })
    try {
      this.#exitFrame = this.#writeExitFrame()
      this.#makeGoBetween()
    } catch (error) {
      this.close()
      throw endOf(held, error)
    }
  }

  /** Has it make the fork. */
  make(): MadeFork {
    const goBetween = this.#goBetween
    if (goBetween === undefined) throw this.#failed('clone', 'it is closed')
    let fork: number | undefined
    try {
      fork = this.#forkBy(goBetween)
      if (ptrace(PTRACE.DETACH, goBetween.pid, 0, 0) < 0)
        throw this.#failed('ptrace(PTRACE_DETACH)', errnoName())
      const waited = this.#injection.thread.finish()
      if (waited !== goBetween.innerPid) throw this.#failed('wait4', 'the go-between was taken away')
      this.#goBetween = undefined
      this.#onStep('gone')
      return { pid: fork, spoiled: [this.#injection.thread.frame, this.#exitFrameRange] }
    } catch (error) {
      if (fork !== undefined) endFork(fork)
      throw endOf(this.#held, error)
    } finally {
      this.close()
    }
  }

  /** Puts the target back as it was, where that has not been done. */
  close(): void {
    if (this.#isClosed) return
    this.#isClosed = true
    try {
      if (this.#goBetween !== undefined) this.#giveUp(this.#goBetween)
    } finally {
      this.#injection.close()
    }
  }

  #makeGoBetween(): void {
    const { thread } = this.#injection
    const { result, child } = thread.clone(CLONE.VM + CLONE.FILES, this.#exitFrame)
    if (result < 0 || child === undefined) throw this.#failed('clone', result)
    this.#goBetween = { ...this.#born(child), innerPid: result }
    this.#onStep('go-between')
    this.#bind(child)
    const range = [0, ALL_DESCRIPTORS, CLOSE_RANGE_UNSHARE]
    const closed = callInChild(this.#goBetween, SYS.closeRange, range, this.#deadline)
    if (closed.result < 0) throw this.#failed('close_range', closed.result)
    this.#onStep('descriptors')
    thread.start(SYS.wait4, [result, 0, WAIT.ALL, 0])
  }

  get #exitFrameRange(): AddressRange {
    return { start: this.#exitFrame, end: this.#exitFrame + BARE_FRAME_BYTES }
  }

  /** A child that nobody attends to takes this frame for its own, and exits. */
  #writeExitFrame(): number {
    const { thread, stub, childFrame } = this.#injection
    if (childFrame === undefined) throw this.#failed('clone', 'its vdso has no room left')
    const changes = { rip: stub.address, rsp: childFrame, rax: SYS.exitGroup, rdi: EXIT_STATUS }
    stub.write(childFrame, buildBareFrame(withRegisters(thread.registers, changes), ALL_SIGNALS))
    this.#onStep('exit frame')
    return childFrame
  }

  #born(pid: number): BornChild {
    const { thread, stub } = this.#injection
    return { pid, registers: withRegisters(thread.registers, { rip: stub.address, rsp: this.#exitFrame }) }
  }

  /** Waits for a child at its birth, and makes it die with us; its own children will too. */
  #bind(child: number): void {
    const deadline = Math.min(this.#deadline, performance.now() + BIRTH_TIMEOUT_MS)
    if (awaitStop(child, child, deadline, true) !== 'interrupted')
      throw this.#failed('clone', 'its child did not stand')
    const options = this.#injection.thread.traceOptions + PTRACE_O.EXITKILL
    if (ptrace(PTRACE.SETOPTIONS, child, 0, options) < 0)
      throw this.#failed('ptrace(PTRACE_SETOPTIONS)', errnoName())
    this.#onStep('bound')
  }

  #forkBy(goBetween: BornChild): number {
    const { result, child } = callInChild(goBetween, SYS.clone, [0, this.#exitFrame], this.#deadline)
    if (result < 0 || child === undefined) throw this.#failed('clone', result)
    this.#onStep('forked')
    try {
      this.#bind(child)
      writeFileSync(`/proc/${String(child)}/oom_score_adj`, OOM_SCORE_ADJ_MAX)
      this.#onStep('expendable')
      return child
    } catch (error) {
      endFork(child)
      throw error
    }
  }

  /** Ends the go-between, and has it waited for, as far as can be. Where it cannot, the next run reaps it. */
  #giveUp({ pid, innerPid }: GoBetween): void {
    kill(pid)
    awaitEnd(pid, Math.min(this.#deadline, performance.now() + BIRTH_TIMEOUT_MS))
    try {
      this.#injection.call(SYS.wait4, innerPid, 0, WAIT.ALL + WAIT.NOHANG, 0)
    } catch {
      // The thread does not run any more.
    }
  }

  #failed(syscall: string, why: number | string): TidemarkError {
    const { pid } = this.#held
    const reason = typeof why === 'number' ? errnoNameOf(-why) : why
    const text = `process ${String(pid)} cannot be forked: ${syscall} failed with ${reason}`
    return new TidemarkError('FORK_FAILED', text, { pid, syscall, reason })
  }
}

/** The child that makes the fork. */
interface GoBetween extends BornChild {
  /** Its pid in the target's own pid namespace. */
  readonly innerPid: number
}

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL')
  } catch {
    // It has ended.
  }
}

/** Takes the end of a child that we trace; then its parent, or who took it over, can wait for it. */
function awaitEnd(child: number, deadline: number): void {
  const info = Buffer.alloc(SIGINFO.byteLength)
  for (;;) {
    info.fill(0, 0, SIGINFO.status + 4)
    const options = WAIT.EXITED | WAIT.NOHANG | WAIT.ALL
    if (waitid(P_PID, child, info, options) < 0 || info.readInt32LE(SIGINFO.pid) !== 0) return
    if (performance.now() > deadline) return
    Atomics.wait(pause, 0, 0, PAUSE_MS)
  }
}
