/**
 * Waiting until a thread that was sent on stands again, whatever comes in between.
 *
 * With all signals blocked only SIGSTOP and SIGKILL are left. A SIGSTOP is passed on, and the stop that follows
 * is left at once: the thread takes it up again when it is let go, as do all others.
 */
import { TidemarkError } from '../errors.js'
import { P_PID, PTRACE, PTRACE_EVENT_STOP, SIGINFO, WAIT } from './abi.js'
import { ECHILD, EINTR, errno, errnoName, ptrace, waitid } from './libc.js'
import { readStat, targetDied } from './procfs.js'
import { readEventMessage } from './registers.js'

/**
 * How a thread stands: at a system call's entry or exit, inside a call that has just made a child, or elsewhere, since
 * it was interrupted. Or it does not yet.
 */
export type Stop = 'syscall' | 'child' | 'interrupted' | 'none'

/**
 * SIGTRAP with the bit of PTRACE_O_TRACESYSGOOD. It is no signal: a thread that stands so when its tracer is
 * killed gets none from it. source: ptrace(2)
 */
const SYSCALL_STOP = 5 + 0x80
/** A SIGTRAP for PTRACE_EVENT_CLONE, which stops a parent only where PTRACE_O_TRACECLONE is set. source: ptrace(2) */
const CHILD_STOP = 5 + 3 * 256
/** Until then a waiting thread is polled without a pause: a call takes some 0.1 ms. */
const SPIN_MS = 2
const PAUSE_MS = 0.1

const info = Buffer.alloc(SIGINFO.byteLength)
const pause = new Int32Array(new SharedArrayBuffer(4))

/** Whether the thread has ended; it may still be there for its tracer or parent. */
export function hasEnded(pid: number, tid: number): boolean {
  const state = readStat(pid, tid)?.state
  return state === undefined || state === 'Z' || state === 'X'
}

/**
 * Waits for the next stop of `tid`, at most until `deadline` in the clock of performance.now().
 *
 * @param interrupted - PTRACE_INTERRUPT was asked for; otherwise such a stop is left at once
 * @throws TARGET_DIED
 */
export function awaitStop(pid: number, tid: number, deadline: number, interrupted: boolean): Stop {
  const begun = performance.now()
  for (;;) {
    const status = peekStop(pid, tid)
    const kind = kindOf(status)
    if (kind === 'syscall' || kind === 'child' || (kind === 'interrupted' && interrupted)) {
      waitid(P_PID, tid, info, WAIT.STOPPED | WAIT.NOHANG | WAIT.ALL)
      return kind
    }
    if (status !== undefined) {
      // Not waited for before it is passed on: were we killed in between, a signal would be lost.
      ptrace(PTRACE.SYSCALL, tid, 0, kind === 'interrupted' ? 0 : status)
      continue
    }
    const now = performance.now()
    if (now - begun < SPIN_MS) continue
    if (hasEnded(pid, tid)) throw targetDied(pid)
    if (now > deadline) return 'none'
    Atomics.wait(pause, 0, 0, PAUSE_MS)
  }
}

/** How a thread stands after it was sent into, or through, a system call. */
export interface CallStop {
  readonly stop: Exclude<Stop, 'child'>
  /** The child that the call has made; undefined where it made none. */
  readonly child: number | undefined
}

/** The same as {@link awaitStop}, on beyond the birth of a child. */
export function awaitCall(pid: number, tid: number, deadline: number, interrupted: boolean): CallStop {
  let child: number | undefined
  for (;;) {
    const stop = awaitStop(pid, tid, deadline, interrupted)
    if (stop !== 'child') return { stop, child }
    child = readEventMessage(tid)
    ptrace(PTRACE.SYSCALL, tid, 0, 0)
  }
}

/** Status of the stop that `tid` stands in, which is left to be waited for; undefined where it runs. */
function peekStop(pid: number, tid: number): number | undefined {
  info.fill(0, 0, SIGINFO.status + 4)
  if (waitid(P_PID, tid, info, WAIT.STOPPED | WAIT.NOHANG | WAIT.NOWAIT | WAIT.ALL) < 0) {
    const code = errno()
    if (code === EINTR) return undefined
    if (code === ECHILD) throw targetDied(pid)
    throw new TidemarkError('SYSCALL_FAILED', `waitid failed with ${errnoName()}`, { pid, tid })
  }
  return info.readInt32LE(SIGINFO.pid) === 0 ? undefined : info.readInt32LE(SIGINFO.status)
}

/** What a stop is; `none` where there is none, or where a signal is about to be delivered. */
function kindOf(status: number | undefined): Stop {
  if (status === SYSCALL_STOP) return 'syscall'
  if (status === CHILD_STOP) return 'child'
  // A stop of the whole process by a signal, by PTRACE_INTERRUPT, or of a child at its birth.
  return status !== undefined && status >> 8 === PTRACE_EVENT_STOP ? 'interrupted' : 'none'
}
