/**
 * Memory of this process that a userfaultfd of our own watches, and the soft-dirty bits of any.
 */
import { closeSync, openSync, readSync } from 'node:fs'
import { Userfaultfd } from '../../src/kernel/userfaultfd.js'
import { pageSize } from '../support/kernel-vmas.js'
import { systemCall } from '../victims/libc.js'
import { mapPages, unmapPages } from '../victims/memory.js'

const SYS_USERFAULTFD = 323
const USER_MODE_ONLY = 1

/** Runs `use` with a new userfaultfd, not set up, and its descriptor; both end afterwards. */
export function withUserfaultfd<Result>(use: (uffd: Userfaultfd, fd: number) => Result): Result {
  const fd = systemCall('userfaultfd', SYS_USERFAULTFD, USER_MODE_ONLY)
  try {
    return use(new Userfaultfd(fd, fd, 0), fd)
  } finally {
    closeSync(fd)
  }
}

/** Runs `use` with the address of `pages` fresh pages, not touched, given back afterwards. */
export function withMapped<Result>(pages: number, use: (address: number) => Result): Result {
  const address = mapPages(pages)
  try {
    return use(address)
  } finally {
    unmapPages(address, pages)
  }
}

/** Whether the soft-dirty bit of the page at `address` is set. source: Documentation/admin-guide/mm/pagemap.rst */
export function isSoftDirty(address: number): boolean {
  const fd = openSync('/proc/self/pagemap', 'r')
  const entry = Buffer.alloc(8)
  readSync(fd, entry, 0, 8, (address / pageSize()) * 8)
  closeSync(fd)
  return (entry.readBigUInt64LE() / 2n ** 55n) % 2n === 1n
}
