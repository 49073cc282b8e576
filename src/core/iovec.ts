/**
 * Batches of a plan as iovecs.
 *
 * A batch is a range of file pages, so batches need no list and no objects: batch i is pages
 * [i * batchPages, (i + 1) * batchPages) of pages-N.img, wherever its runs lie in the target.
 *
 *   plan        |  run 0  |run 1|      run 2      |
 *   batches     |  batch 0   |  batch 1   | batch 2
 *   remote iovecs of batch 1:   [tail of run 1][head of run 2]      local: one range
 */
import { runAtOffset, type DumpPlan } from './plan.js'

/** Bytes of one `struct iovec` on a 64-bit machine. */
export const IOVEC_BYTES = 16

/** Most iovecs that one system call takes. source: include/uapi/linux/uio.h UIO_MAXIOV */
export const MAX_IOVECS = 1024

const HIGH_WORD = 2 ** 32

/** Writes `iovec[index] = { address, length }`; `iovecs` is an array of 32-bit words. */
export function setIovec(iovecs: Uint32Array, index: number, address: number, length: number): void {
  const at = (index * IOVEC_BYTES) / 4
  iovecs[at] = address % HIGH_WORD
  iovecs[at + 1] = Math.floor(address / HIGH_WORD)
  iovecs[at + 2] = length % HIGH_WORD
  iovecs[at + 3] = Math.floor(length / HIGH_WORD)
}

/** What {@link fillRemoteIovecs} put into the iovecs. */
export interface IovecFill {
  readonly count: number
  /** File page where the filled part ends: `endPage`, or less where the iovecs ran out. */
  readonly endPage: number
}

/**
 * Fills `iovecs` with the target's addresses of file pages [`startPage`, `endPage`), in order.
 *
 * @param pageSize - in bytes
 */
export function fillRemoteIovecs(
  plan: DumpPlan,
  startPage: number,
  endPage: number,
  pageSize: number,
  iovecs: Uint32Array,
): IovecFill {
  const capacity = Math.min(MAX_IOVECS, (iovecs.byteLength / IOVEC_BYTES) | 0)
  let count = 0
  let at = startPage
  for (let run = runAtOffset(plan, startPage); at < endPage && count < capacity; run++) {
    const runOffset = plan.offsetPages[run] ?? 0
    const stop = Math.min(endPage, plan.offsetPages[run + 1] ?? endPage)
    const page = (plan.startPage[run] ?? 0) + (at - runOffset)
    setIovec(iovecs, count, page * pageSize, (stop - at) * pageSize)
    count++
    at = stop
  }
  return { count, endPage: at }
}

/** The target's page whose content is file page `offset` of the plan. */
export function pageAtOffset(plan: DumpPlan, offset: number): number {
  const run = runAtOffset(plan, offset)
  return (plan.startPage[run] ?? 0) + (offset - (plan.offsetPages[run] ?? 0))
}
