/**
 * Finding processes that share the target's memory without being its threads (clone with CLONE_VM, vfork).
 *
 * Such a process goes on writing while the target stands still: a snapshot would not be one instant.
 * kcmp tells for certain; it needs the right to trace both. source: kcmp(2)
 */
import { TidemarkError } from '../errors.js'
import { KCMP_VM, SYS_KCMP } from './abi.js'
import { syscall } from './libc.js'
import { hasMemory, listProcesses, listThreads, readProcText, readStat, targetDied } from './procfs.js'

/**
 * Those of `candidates` that share the memory of `tid`. Throws `TARGET_DIED` where it has none any more.
 *
 * @param candidates - process ids
 */
export function findSharers(pid: number, tid: number, candidates: readonly number[]): number[] {
  const sharers = candidates.filter(
    (other) => other !== pid && other !== process.pid && sharesMemory(pid, tid, other),
  )
  // Without memory it is the equal of every kernel thread.
  if (sharers.length > 0 && !hasMemory(tid)) throw targetDied(pid)
  return sharers
}

/** Throws `SHARED_MM` where {@link findSharers} finds one. */
export function refuseSharedMemory(pid: number, tid: number, candidates: readonly number[]): void {
  const [sharer] = findSharers(pid, tid, candidates)
  if (sharer !== undefined) throw sharedMemory(pid, sharer)
}

/** The error for a process whose memory `sharer` shares. */
export function sharedMemory(pid: number, sharer: number): TidemarkError {
  const parent = readStat(sharer)?.ppid
  // A child between vfork and exec is gone in a moment, and to end it would harm the target.
  const remedy =
    parent === undefined || parent === pid
      ? 'a child may do so between vfork and exec: try again, or give it more time (--timeout)'
      : 'end it first, if the process can do without it'
  return new TidemarkError(
    'SHARED_MM',
    `process ${String(sharer)} shares the memory of process ${String(pid)} and would go on writing to it; ${remedy}`,
    { pid },
  )
}

/** Whether a thread of the process may be waiting for its vfork's child, which it does uninterruptibly. source: kernel/fork.c */
export function mayVfork(pid: number): boolean {
  return listThreads(pid).some((tid) => readStat(pid, tid)?.state === 'D')
}

/** Processes that are there now and were not in `before`. */
export function newProcesses(before: ReadonlySet<number>): number[] {
  return listProcesses().filter((pid) => !before.has(pid))
}

function sharesMemory(pid: number, tid: number, other: number): boolean {
  const order = syscall(SYS_KCMP, tid, other, KCMP_VM, 0, 0)
  if (order >= 0) return order === 0
  // Not for us to compare, or no kcmp in this kernel: a child of the same size, to the page, is taken for a sharer.
  if (readStat(other)?.ppid !== pid) return false
  const size = readProcText(`/proc/${String(tid)}/statm`)
  return size !== undefined && size === readProcText(`/proc/${String(other)}/statm`)
}
