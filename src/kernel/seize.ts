/**
 * Holding every thread of a process still, by ptrace.
 *
 * Architecture Invariant: all calls on one SeizedProcess come from the thread that made it, and that thread
 * does nothing else meanwhile. The kernel lets go of every thread when the tracing thread ends, by whatever
 * cause, so a target can never stay stopped because of us.
 *
 * PTRACE_SEIZE does not stop; PTRACE_INTERRUPT does. A thread stops within microseconds but for one in
 * vfork, which stops only when its child is done: hence a deadline. A thread that was seized and never
 * stopped cannot be detached; ending the tracing thread is the only way to let go of it.
 */
import { readFileSync } from 'node:fs'
import { TidemarkError } from '../errors.js'
import { P_PID, PTRACE, PTRACE_EVENT_STOP, SIGINFO, WAIT } from './abi.js'
import { ECHILD, EINTR, EPERM, errno, errnoName, ESRCH, ptrace, waitid, waitpid } from './libc.js'
import { listThreads, readStat, targetDied } from './procfs.js'

const SIGTRAP = 5
/** Until then a waiting thread is polled without a pause. */
const SPIN_MS = 1
const PAUSE_MS = 0.1
const REHEARSALS = 20
/** Above every thread id. source: include/linux/threads.h PID_MAX_LIMIT */
const NO_THREAD = 2 ** 22

/**
 * Reaps the target's threads that ended while a thread of ours traces them.
 *
 * A thread that calls exec holds a lock until all its siblings are gone, and a sibling that we trace is gone
 * only when it has been waited for; meanwhile our next PTRACE_SEIZE sleeps on that very lock. So another
 * thread of ours has to wait for them. Only zombies are touched: a stop is the freezer's to see.
 *
 * source: fs/exec.c de_thread, kernel/ptrace.c ptrace_attach (cred_guard_mutex)
 */
export function reapEndedThreads(pid: number): void {
  const info = Buffer.alloc(SIGINFO.byteLength)
  for (const tid of listThreads(pid)) {
    if (tid !== pid && readStat(pid, tid)?.state === 'Z')
      waitid(P_PID, tid, info, WAIT.EXITED | WAIT.NOHANG | WAIT.ALL)
  }
}

/** A process whose threads are being stopped, or all stand. */
export class SeizedProcess {
  readonly #pid: number
  /** State file of the cgroup v1 freezer that holds the target, if one does. */
  readonly #freezerState: string | undefined
  readonly #stopped = new Set<number>()
  readonly #gone = new Set<number>()
  /** Threads that stand because a cgroup holds them: seized, but in no ptrace stop. */
  readonly #held = new Set<number>()
  readonly #info = Buffer.alloc(SIGINFO.byteLength)
  readonly #pause = new Int32Array(new SharedArrayBuffer(4))
  /** Rounds over the list of threads that it took. */
  rounds = 0
  /** Whether the process was stopped by a signal before we came. */
  wasStopped = false

  constructor(pid: number, freezerState?: string) {
    this.#pid = pid
    this.#freezerState = freezerState
  }

  /**
   * Makes every call that a freeze makes, on a thread that cannot exist: the first call of a function costs
   * a hundred times the second, and the target should not wait for that.
   */
  static rehearse(): void {
    const own = new SeizedProcess(process.pid)
    for (let round = 0; round < REHEARSALS; round++) {
      listThreads(process.pid).some((tid) => own.#isKnown(tid))
      own.#seize(NO_THREAD)
      ptrace(PTRACE.INTERRUPT, NO_THREAD, 0, 0)
      own.#awaitStops(new Set([NO_THREAD]), Infinity)
      own.release()
      own.#gone.clear()
    }
  }

  /** Ids of the threads that stand. */
  get threads(): number[] {
    return [...this.#stopped, ...this.#held]
  }

  /** Ids of those among them that stand in a ptrace stop; a cgroup holds the others. */
  get traced(): number[] {
    return [...this.#stopped]
  }

  /**
   * Stops every thread, also those that start meanwhile.
   *
   * @param deadline - in the clock of performance.now()
   * @throws SEIZE_TIMEOUT, PERMISSION_DENIED, TARGET_DIED; what was stopped by then is let go
   */
  stopAll(deadline: number): void {
    try {
      // Two lists without a new thread: one can end early where a thread ends while it is read.
      for (let quiet = 0; quiet < 2;) {
        const fresh = listThreads(this.#pid).filter((tid) => !this.#isKnown(tid))
        quiet = fresh.length === 0 ? quiet + 1 : 0
        this.rounds++
        const waiting = fresh.filter((tid) => this.#seize(tid))
        for (const tid of waiting) ptrace(PTRACE.INTERRUPT, tid, 0, 0)
        this.#awaitStops(new Set(waiting), deadline)
      }
      if (this.threads.length === 0) throw targetDied(this.#pid)
    } catch (error) {
      this.release()
      throw error
    }
  }

  /**
   * Lets every thread go on. A thread of a process that was stopped by a signal stays stopped.
   *
   * Threads that a cgroup freezer holds are let go when the calling thread ends.
   */
  release(): void {
    for (const tid of this.#stopped) ptrace(PTRACE.DETACH, tid, 0, 0)
    this.#stopped.clear()
  }

  #isKnown(tid: number): boolean {
    return this.#stopped.has(tid) || this.#held.has(tid) || this.#gone.has(tid)
  }

  /** Whether `tid` was seized; one that has ended is noted as gone. */
  #seize(tid: number): boolean {
    if (ptrace(PTRACE.SEIZE, tid, 0, 0) >= 0) return true
    const code = errno()
    if (code !== ESRCH && code !== EPERM) throw this.#seizeError(tid)
    const error = this.#seizeError(tid)
    const stat = readStat(this.#pid, tid)
    if (code === ESRCH || stat === undefined || stat.state === 'Z' || stat.state === 'X') {
      this.#gone.add(tid)
      return false
    }
    throw error
  }

  #seizeError(tid: number): TidemarkError {
    const name = errnoName()
    return new TidemarkError(
      'PERMISSION_DENIED',
      `process ${String(this.#pid)} cannot be traced: ptrace of thread ${String(tid)} failed with ${name}`,
      { pid: this.#pid, tid, syscall: 'ptrace(PTRACE_SEIZE)', errno: name },
    )
  }

  #awaitStops(waiting: Set<number>, deadline: number): void {
    const begun = performance.now()
    while (waiting.size > 0) {
      for (const tid of waiting) if (this.#poll(tid)) waiting.delete(tid)
      const now = performance.now()
      if (waiting.size === 0 || now - begun < SPIN_MS) continue
      this.#passOverStuck(waiting)
      if (waiting.size > 0 && now > deadline) throw this.#timeout(waiting)
      Atomics.wait(this.#pause, 0, 0, PAUSE_MS)
    }
  }

  /** Looks at one thread once; true when it needs no more waiting. */
  #poll(tid: number): boolean {
    this.#info.fill(0, 0, SIGINFO.status + 4)
    // Without WEXITED: an exit is left to whom it belongs, which may be Node's own child handling.
    // With WNOWAIT: were we killed between taking a signal's stop and passing the signal on, it would be lost.
    if (waitid(P_PID, tid, this.#info, WAIT.STOPPED | WAIT.NOHANG | WAIT.NOWAIT | WAIT.ALL) < 0) {
      const code = errno()
      if (code === EINTR) return false
      if (code !== ECHILD)
        throw new TidemarkError('SYSCALL_FAILED', `waitid failed with ${errnoName()}`, { tid })
      // It has ended since it was seized: no wait for stops knows it any more.
      this.#reap(tid)
      this.#gone.add(tid)
      return true
    }
    if (this.#info.readInt32LE(SIGINFO.pid) === 0) return false
    const status = this.#info.readInt32LE(SIGINFO.status)
    const event = status >> 8
    const signal = status & 0xff
    if (event !== PTRACE_EVENT_STOP) {
      // A signal came in before the interrupt: let it be delivered; the stop follows at once.
      ptrace(PTRACE.CONT, tid, 0, signal)
      return false
    }
    waitid(P_PID, tid, this.#info, WAIT.STOPPED | WAIT.NOHANG | WAIT.ALL)
    if (signal !== SIGTRAP) this.wasStopped = true
    this.#stopped.add(tid)
    return true
  }

  /** Takes threads that have ended, or that a cgroup freezer holds, out of `waiting`. */
  #passOverStuck(waiting: Set<number>): void {
    for (const tid of waiting) {
      const state = readStat(this.#pid, tid)?.state
      if (state !== undefined && state !== 'Z' && state !== 'X') continue
      this.#reap(tid)
      this.#gone.add(tid)
      waiting.delete(tid)
    }
    if (waiting.size === 0 || this.#freezerState === undefined) return
    if (readFileSync(this.#freezerState, 'latin1').trim() !== 'FROZEN') return
    for (const tid of waiting) this.#held.add(tid)
    waiting.clear()
  }

  /** A traced thread that ended stays a zombie until its tracer waits for it. The main thread is its parent's. */
  #reap(tid: number): void {
    if (tid !== this.#pid) waitpid(tid, this.#info, WAIT.NOHANG | WAIT.ALL)
  }

  #timeout(waiting: ReadonlySet<number>): TidemarkError {
    const tid = [...waiting][0] ?? this.#pid
    const state = readStat(this.#pid, tid)?.state ?? '?'
    return new TidemarkError(
      'SEIZE_TIMEOUT',
      `thread ${String(tid)} of process ${String(this.#pid)} did not stop in time (state ${state}; a thread in vfork ` +
        'stops only when its child is done); the process runs on',
      { pid: this.#pid, tid },
    )
  }
}
