/**
 * Reading the target's memory: process_vm_readv for what its protection lets us read, /proc/PID/mem for the rest.
 *
 * process_vm_readv is the fast way (many ranges a call, one copy), but refuses PROT_NONE and write-only
 * memory; /proc/PID/mem forces its way through those. source: process_vm_readv(2), mm/memory.c
 */
import { closeSync, openSync } from 'node:fs'
import { TidemarkError } from '../errors.js'
import { setBits } from '../core/bitmap.js'
import { fillRemoteIovecs, IOVEC_BYTES, MAX_IOVECS, pageAtOffset, setIovec } from '../core/iovec.js'
import { runAtOffset, type DumpPlan } from '../core/plan.js'
import { EFAULT, errno, ESRCH, pread, preadAt, processVmReadv, pwrite, syscallError } from './libc.js'
import { pageSize } from './page-size.js'
import { isGone, targetDied } from './procfs.js'

/** Memory of one process, opened by one thread. */
export class TargetMemory {
  readonly #pid: number
  readonly #tid: number
  /** Of /proc/PID/mem; undefined until it is needed. */
  #fd: number | undefined
  readonly #pageSize = pageSize()
  readonly #remote = new Uint32Array((MAX_IOVECS * IOVEC_BYTES) / 4)
  readonly #local = new Uint32Array(IOVEC_BYTES / 4)
  readonly #byte = new Uint8Array(1)
  /** Pages that had to go through /proc/PID/mem. */
  forcedPages = 0

  /** @param tid - a live thread of process `pid` */
  constructor(pid: number, tid: number) {
    this.#pid = pid
    this.#tid = tid
  }

  /** Throws where we may not read it. Otherwise it is opened when process_vm_readv does not do. */
  open(): number {
    try {
      this.#fd ??= openSync(`/proc/${String(this.#tid)}/mem`, 'r')
      return this.#fd
    } catch (error) {
      if (isGone(error)) throw targetDied(this.#pid, error)
      throw error
    }
  }

  /**
   * Copies file pages [`start`, `end`) of `plan` to `address` in our memory.
   *
   * Throws `UNREADABLE_PAGE` at the first page that neither way can read, `TARGET_DIED` where it is gone.
   */
  copyPages(plan: DumpPlan, start: number, end: number, address: number): void {
    let at = start
    while (at < end) {
      const into = address + (at - start) * this.#pageSize
      const fill = fillRemoteIovecs(plan, at, end, this.#pageSize, this.#remote)
      const wanted = (fill.endPage - at) * this.#pageSize
      setIovec(this.#local, 0, into, wanted)
      const got = processVmReadv(this.#tid, this.#local, 1, this.#remote, fill.count, 0)
      if (got === wanted) {
        at = fill.endPage
        continue
      }
      if (got < 0) this.#checkFault()
      at += Math.max(0, Math.floor(got / this.#pageSize))
      at = this.#forceRun(plan, at, fill.endPage, address + (at - start) * this.#pageSize)
    }
  }

  /**
   * The same for a target that runs: a page that is gone, or that may not be read, gets its bit in `gone` (by file page).
   *
   * Nothing is read by force: what is mapped at an address by now may be a device.
   */
  copyThere(plan: DumpPlan, start: number, end: number, address: number, gone: Int32Array): void {
    for (let at = start; at < end;) {
      const fill = fillRemoteIovecs(plan, at, end, this.#pageSize, this.#remote)
      const wanted = (fill.endPage - at) * this.#pageSize
      setIovec(this.#local, 0, address + (at - start) * this.#pageSize, wanted)
      const got = processVmReadv(this.#tid, this.#local, 1, this.#remote, fill.count, 0)
      if (got < 0) this.#checkFault()
      const copied = Math.max(0, Math.floor(got / this.#pageSize))
      at += copied
      if (got === wanted) continue
      setBits(gone, at, at + 1)
      at++
    }
  }

  /** Whether the page at `page` can be read: a guard page or a poisoned one can't, though it looks swapped out. */
  isReadable(page: number): boolean {
    const got = pread(this.open(), this.#byte, 1, page * this.#pageSize)
    // Memory that is gone reads as nothing at all, a page that cannot be read as an error.
    if (got === 0 || (got < 0 && errno() === ESRCH)) throw targetDied(this.#pid)
    return got === 1
  }

  /** The `length` bytes at `address` of the target, or undefined where they cannot be read. */
  readBytes(address: number, length: number): Buffer | undefined {
    const bytes = Buffer.allocUnsafeSlow(length)
    return pread(this.open(), bytes, length, address) === length ? bytes : undefined
  }

  close(): void {
    if (this.#fd !== undefined) closeSync(this.#fd)
  }

  /** Reads the rest of the run at file page `at` by force; returns where it ended, at most `end`. */
  #forceRun(plan: DumpPlan, at: number, end: number, address: number): number {
    const runEnd = plan.offsetPages[runAtOffset(plan, at) + 1] ?? end
    const pages = Math.min(end, runEnd) - at
    const page = pageAtOffset(plan, at)
    const got = preadAt(this.open(), address, pages * this.#pageSize, page * this.#pageSize)
    if (got < 0 && errno() === ESRCH) throw targetDied(this.#pid)
    // The end of the address space reads as nothing at all once the process is gone.
    if (got === 0) throw targetDied(this.#pid)
    const whole = Math.floor(Math.max(0, got) / this.#pageSize)
    this.forcedPages += whole
    if (whole === 0) this.#failAt(page)
    return at + whole
  }

  #checkFault(): void {
    const code = errno()
    if (code === ESRCH) throw targetDied(this.#pid)
    if (code !== EFAULT) {
      throw syscallError('process_vm_readv', `cannot read the memory of process ${String(this.#pid)}`, {
        pid: this.#pid,
      })
    }
  }

  #failAt(page: number): never {
    const vaddr = '0x' + (page * this.#pageSize).toString(16)
    throw new TidemarkError(
      'UNREADABLE_PAGE',
      `the page at ${vaddr} of process ${String(this.#pid)} is there but cannot be read; nothing was saved`,
      { pid: this.#pid, vaddr },
    )
  }
}

/**
 * Rewrites the byte at each of `addresses` of a standing process with its own value, through any protection.
 *
 * @param tid - a live thread of it
 * @returns false where the kernel forbids it (Linux 6.12 can, by proc_mem.force_override)
 */
export function forceRewrite(tid: number, addresses: readonly number[]): boolean {
  const fd = openSync(`/proc/${String(tid)}/mem`, 'r+')
  const byte = new Uint8Array(1)
  try {
    return addresses.every(
      (address) => pread(fd, byte, 1, address) === 1 && pwrite(fd, byte, 1, address) === 1,
    )
  } finally {
    closeSync(fd)
  }
}
