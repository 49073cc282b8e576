/**
 * Finding processes that share the target's memory without being its threads (clone with CLONE_VM, vfork).
 *
 * Such a process goes on writing while the target stands still: a snapshot would not be one instant.
 * kcmp tells for certain; it needs the right to trace both. source: kcmp(2)
 */
import { TidemarkError } from '../errors.js'
import { KCMP_VM, SYS_KCMP } from './abi.js'
import { syscall } from './libc.js'
import { hasMemory, listProcesses, readProcText, readStat, targetDied } from './procfs.js'

/**
 * Throws `SHARED_MM` where one of `candidates` shares the memory of `tid`, `TARGET_DIED` where it has none any more.
 *
 * @param candidates - process ids
 */
export function refuseSharedMemory(pid: number, tid: number, candidates: readonly number[]): void {
  const sharer = candidates.find(
    (other) => other !== pid && other !== process.pid && sharesMemory(pid, tid, other),
  )
  if (sharer === undefined) return
  // Without memory it is the equal of every kernel thread.
  if (!hasMemory(tid)) throw targetDied(pid)
  throw new TidemarkError(
    'SHARED_MM',
    `process ${String(sharer)} shares the memory of process ${String(pid)} and would go on writing to it; end it first`,
    { pid },
  )
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
