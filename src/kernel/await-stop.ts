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

/**
 * How a thread stands: at a system call's entry or exit, or elsewhere, since it was interrupted. Or it does not
 * yet.
 */
export type Stop = 'syscall' | 'interrupted' | 'none'

/**
 * SIGTRAP with the bit of PTRACE_O_TRACESYSGOOD. It is no signal: a thread that stands so when its tracer is
 * killed gets none from it. source: ptrace(2)
 */
const SYSCALL_STOP = 5 + 0x80
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
    if (status === SYSCALL_STOP || (interrupted && status !== undefined && isEventStop(status))) {
      waitid(P_PID, tid, info, WAIT.STOPPED | WAIT.NOHANG | WAIT.ALL)
      return status === SYSCALL_STOP ? 'syscall' : 'interrupted'
    }
    if (status !== undefined) {
      // Not waited for before it is passed on: were we killed in between, a signal would be lost.
      ptrace(PTRACE.SYSCALL, tid, 0, isEventStop(status) ? 0 : status)
      continue
    }
    const now = performance.now()
    if (now - begun < SPIN_MS) continue
    if (hasEnded(pid, tid)) throw targetDied(pid)
    if (now > deadline) return 'none'
    Atomics.wait(pause, 0, 0, PAUSE_MS)
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

/** A stop of the whole process by a signal, or by PTRACE_INTERRUPT. */
function isEventStop(status: number): boolean {
  return status >> 8 === PTRACE_EVENT_STOP
}
