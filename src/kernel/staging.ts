/**
 * Staging memory: where workers copy the target's pages while it stands still.
 *
 * It is plain anonymous memory outside V8's heap, page-aligned (a copy to an unaligned buffer is 1.3 to 2.6
 * times slower) and faulted in before the freeze, in huge pages where the system gives them (three times
 * cheaper). Threads share it by its address.
 */
import { TidemarkError } from '../errors.js'
import { HUGE_PAGE_BYTES, MADV, MAP_NORESERVE, MAP_PRIVATE_ANONYMOUS, PROT_READ_WRITE } from './abi.js'
import { errnoName, madvise, memset, mmap, munmap } from './libc.js'

/** A mapping of our own. */
export interface Staging {
  /** Aligned to 2 MiB. */
  readonly address: number
  readonly byteLength: number
  readonly mapping: { readonly address: number; readonly byteLength: number }
}

/** Maps, but does not yet fault in, `byteLength` bytes. */
export function mapStaging(byteLength: number): Staging {
  const mapped = byteLength + HUGE_PAGE_BYTES
  const base = mmap(0, mapped, PROT_READ_WRITE, MAP_PRIVATE_ANONYMOUS | MAP_NORESERVE, -1, 0)
  if (base === -1) {
    throw new TidemarkError(
      'SYSCALL_FAILED',
      `cannot map ${String(byteLength)} bytes of staging memory: mmap failed with ${errnoName()}; lower --max-memory`,
    )
  }
  const address = Math.ceil(base / HUGE_PAGE_BYTES) * HUGE_PAGE_BYTES
  madvise(address, byteLength, MADV.HUGEPAGE)
  // The staging memory holds the target's secrets: not for our own core dump.
  madvise(address, byteLength, MADV.DONTDUMP)
  return { address, byteLength, mapping: { address: base, byteLength: mapped } }
}

/** Faults in [`address`, `address + byteLength`). */
export function populate(address: number, byteLength: number): void {
  if (byteLength <= 0) return
  // Before Linux 5.14 there is no such advice.
  if (madvise(address, byteLength, MADV.POPULATE_WRITE) < 0) memset(address, 0, byteLength)
}

/** Gives the memory back. */
export function unmapStaging(staging: Staging): void {
  munmap(staging.mapping.address, staging.mapping.byteLength)
}
