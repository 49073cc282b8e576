/**
 * Memory of this process outside of V8's heap, as the code under test fills it.
 */
import { mapStaging, unmapStaging } from '../../src/kernel/staging.js'
import { pageSize } from '../support/kernel-vmas.js'
import { copyOut } from '../victims/libc.js'

/** Runs `use` with the address of `pages` pages, which are given back afterwards, whatever happens. */
export function withOwnPages<Result>(pages: number, use: (address: number) => Result): Result {
  const staging = mapStaging(pages * pageSize())
  try {
    return use(staging.address)
  } finally {
    unmapStaging(staging)
  }
}

/** The same for what takes its time: the pages are given back when the promise is settled. */
export async function whileOwnPages<Result>(
  pages: number,
  use: (address: number) => Promise<Result>,
): Promise<Result> {
  const staging = mapStaging(pages * pageSize())
  try {
    return await use(staging.address)
  } finally {
    unmapStaging(staging)
  }
}

/** A copy of the `length` bytes at `address`. */
export function ownBytes(address: number, length: number): Buffer {
  const bytes = Buffer.alloc(length)
  copyOut(bytes, address, length)
  return bytes
}
