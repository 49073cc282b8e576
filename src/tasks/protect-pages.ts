/** Write-protects the written pages of a standing target, shard by shard: the reset of the write-protection tracker. */
import { areBitsSet } from '../core/bitmap.js'
import { CHUNK_PAGES, pageOfSlot, slotOfPage } from '../core/chunks.js'
import { firstSegmentAfter } from '../core/segments.js'
import { TidemarkError } from '../errors.js'
import { PagemapProtector } from '../kernel/pagemap-protect.js'
import { takePiece } from './control.js'
import type { ProtectJob } from './jobs.js'

/** What one thread protected. */
export interface ProtectCounts {
  readonly pieces: number
  readonly pages: number
}

/** Protects shards from the queue until it is empty. */
export function protectPages(job: ProtectJob, control: Int32Array): ProtectCounts {
  const protector = new PagemapProtector(job.tid, job.features)
  const expected = new ExpectedPages(job)
  const { shards } = job
  let pieces = 0
  let pages = 0
  try {
    for (let shard = takePiece(control, shards.count); shard >= 0; shard = takePiece(control, shards.count)) {
      const from = pageOfSlot(job.chunks, shards.startSlot[shard] ?? 0)
      const to = pageOfSlot(job.chunks, (shards.endSlot[shard] ?? 0) - 1) + 1
      pages += protectRange(job, protector, expected, from, to)
      pieces++
    }
    return { pieces, pages }
  } finally {
    protector.close()
  }
}

function protectRange(
  job: ProtectJob,
  protector: PagemapProtector,
  expected: ExpectedPages,
  from: number,
  to: number,
): number {
  const { segments, isRehearsal } = job
  let pages = 0
  const visit = (first: number, last: number): void => {
    if (!expected.has(first, last) && !isRehearsal) throw changedWhileFrozen(job.pid)
    pages += last - first
  }
  for (let index = firstSegmentAfter(segments, from); index < segments.count; index++) {
    const start = Math.max(from, segments.startPage[index] ?? 0)
    const end = Math.min(to, segments.endPage[index] ?? 0)
    if (start >= to) break
    protector.protect(start, end, segments.storeClass[index] ?? 0, visit, isRehearsal)
  }
  return pages
}

/** The pages that the scan found dirty, asked for in ascending order mostly. */
class ExpectedPages {
  readonly #job: ProtectJob
  /** Number of the chunk that was asked for last, and its first slot; -1 where it has none. */
  #chunk = -1
  #firstSlot = -1

  constructor(job: ProtectJob) {
    this.#job = job
  }

  /** Whether all pages of [`start`, `end`) are among them. */
  has(start: number, end: number): boolean {
    for (let page = start; page < end;) {
      const chunk = Math.floor(page / CHUNK_PAGES)
      if (chunk !== this.#chunk) {
        this.#chunk = chunk
        this.#firstSlot = slotOfPage(this.#job.chunks, chunk * CHUNK_PAGES)
      }
      const stop = Math.min(end, (chunk + 1) * CHUNK_PAGES)
      const slot = this.#firstSlot + page - chunk * CHUNK_PAGES
      if (this.#firstSlot < 0 || !areBitsSet(this.#job.dirty, slot, slot + stop - page)) return false
      page = stop
    }
    return true
  }
}

/** The reset must not swallow a write that the scan before did not see. */
function changedWhileFrozen(pid: number): TidemarkError {
  return new TidemarkError(
    'TARGET_CHANGED',
    `memory of process ${String(pid)} was written while it stood still: another process writes to it; nothing was saved`,
    { pid },
  )
}
