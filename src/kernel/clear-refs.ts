/** Clearing the soft-dirty bits of a process. source: fs/proc/task_mmu.c clear_refs_write */
import { closeSync, openSync, writeSync } from 'node:fs'
import { codeOf, TidemarkError } from '../errors.js'
import { isGone, targetDied } from './procfs.js'

/** CLEAR_REFS_SOFT_DIRTY */
const SOFT_DIRTY = '4'

/** An open clear_refs file. */
export class ClearRefs {
  readonly #tid: number
  readonly #fd: number

  /** @param tid - a live thread of the process */
  constructor(tid: number) {
    this.#tid = tid
    const path = `/proc/${String(tid)}/clear_refs`
    try {
      this.#fd = openSync(path, 'w')
    } catch (error) {
      if (isGone(error)) throw targetDied(tid, error)
      const errno = codeOf(error) ?? 'unknown'
      throw new TidemarkError('PERMISSION_DENIED', `cannot write ${path}: ${errno}`, { path, errno }, error)
    }
  }

  /** Clears the bit of every page, and of every VMA. Throws `TARGET_DIED`, `SYSCALL_FAILED`. */
  clearSoftDirty(): void {
    try {
      writeSync(this.#fd, SOFT_DIRTY)
    } catch (error) {
      if (isGone(error)) throw targetDied(this.#tid, error)
      const errno = codeOf(error) ?? 'unknown'
      throw new TidemarkError(
        'SYSCALL_FAILED',
        `cannot clear the soft-dirty bits of ${String(this.#tid)}: ${errno}`,
        { syscall: 'write', errno },
        error,
      )
    }
  }

  close(): void {
    closeSync(this.#fd)
  }
}
