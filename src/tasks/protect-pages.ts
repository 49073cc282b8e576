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
  const { shards } = job
  let pieces = 0
  let pages = 0
  try {
    for (let shard = takePiece(control, shards.count); shard >= 0; shard = takePiece(control, shards.count)) {
      const from = pageOfSlot(job.chunks, shards.startSlot[shard] ?? 0)
      const to = pageOfSlot(job.chunks, (shards.endSlot[shard] ?? 0) - 1) + 1
      pages += protectRange(job, protector, from, to)
      pieces++
    }
    return { pieces, pages }
  } finally {
    protector.close()
  }
}

function protectRange(job: ProtectJob, protector: PagemapProtector, from: number, to: number): number {
  const { segments } = job
  let pages = 0
  for (let index = firstSegmentAfter(segments, from); index < segments.count; index++) {
    const start = Math.max(from, segments.startPage[index] ?? 0)
    const end = Math.min(to, segments.endPage[index] ?? 0)
    if (start >= to) break
    protector.protect(start, end, segments.storeClass[index] ?? 0, (first, last) => {
      expectDirty(job, first, last)
      pages += last - first
    })
  }
  return pages
}

/** The reset must not swallow a write that the scan before did not see: somebody else wrote while the target stood. */
function expectDirty({ pid, chunks, dirty }: ProtectJob, start: number, end: number): void {
  for (let page = start; page < end;) {
    const stop = Math.min(end, (Math.floor(page / CHUNK_PAGES) + 1) * CHUNK_PAGES)
    const slot = slotOfPage(chunks, page)
    if (slot < 0 || !areBitsSet(dirty, slot, slot + stop - page)) {
      throw new TidemarkError(
        'TARGET_CHANGED',
        `memory of process ${String(pid)} was written while it stood still: another process writes to it; nothing was saved`,
        { pid },
      )
    }
    page = stop
  }
}
