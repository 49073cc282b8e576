/**
 * Sends memory of another process to the swap space.
 */
import { closeSync } from 'node:fs'
import koffi from 'koffi'
import { pageSize } from './kernel-vmas.js'

const SYS_PIDFD_OPEN = 434
const SYS_PROCESS_MADVISE = 440
const MADV_PAGEOUT = 21

const library = koffi.load(null)
const pidfdOpen: (number: number, pid: number, flags: number) => number = library.func('syscall', 'long', [
  'long',
  'int',
  'uint',
])
const processMadvise: (
  number: number,
  pidfd: number,
  iovec: Uint8Array,
  count: number,
  advice: number,
  flags: number,
) => number = library.func('syscall', 'long', ['long', 'int', 'void *', 'size_t', 'int', 'uint'])

/** Asks the kernel (5.10 and later) to page out `pages` pages of `pid` from `firstPage` on; the pages it took on. */
export function pageOut(pid: number, firstPage: number, pages: number): number {
  const pidfd = pidfdOpen(SYS_PIDFD_OPEN, pid, 0)
  if (pidfd < 0) throw new Error(`pidfd_open of ${pid} failed`)
  try {
    const range = new BigUint64Array([BigInt(firstPage * pageSize()), BigInt(pages * pageSize())])
    const taken = processMadvise(SYS_PROCESS_MADVISE, pidfd, new Uint8Array(range.buffer), 1, MADV_PAGEOUT, 0)
    return Math.max(0, taken) / pageSize()
  } finally {
    closeSync(pidfd)
  }
}
