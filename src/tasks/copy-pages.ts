/** Copies the planned pages of a standing target, or of its fork, batch by batch: the bytes of one page, fifth hop of its way. */
import { pageSize } from '../kernel/page-size.js'
import type { TargetMemory } from '../kernel/target-memory.js'
import { CREW, takePiece } from './control.js'
import type { CopyJob } from './jobs.js'
import { writeMoved } from './write-pages.js'

/** What one thread copied. */
export interface CopyCounts {
  readonly pieces: number
  readonly pages: number
  readonly streamedPages: number
}

/**
 * Copies batches from the queue until it is empty.
 *
 * @param thread - index of this thread, which has the stream buffer of that number
 */
export function copyPages(
  job: CopyJob,
  memory: TargetMemory,
  control: Int32Array,
  thread: number,
): CopyCounts {
  const total = job.pages
  const batches = Math.ceil(total / job.batchPages)
  const size = pageSize()
  const buffer = job.streamAddress + thread * job.batchPages * size
  let pieces = 0
  let pages = 0
  let streamedPages = 0
  for (let batch = takePiece(control, batches); batch >= 0; batch = takePiece(control, batches)) {
    const start = batch * job.batchPages
    const end = Math.min(total, start + job.batchPages)
    if (end <= job.stagedPages) {
      copyBatch(job, memory, start, end, job.stagingAddress + start * size)
    } else {
      copyBatch(job, memory, start, end, buffer)
      writeMoved(job.pagesFd, buffer - start * size, job.places, start, end)
      streamedPages += end - start
    }
    pieces++
    pages += end - start
    Atomics.add(control, CREW.progress, 1)
  }
  return { pieces, pages, streamedPages }
}

function copyBatch(job: CopyJob, memory: TargetMemory, start: number, end: number, address: number): void {
  if (job.gone === undefined) memory.copyPages(job.plan, start, end, address)
  else memory.copyThere(job.plan, start, end, address, job.gone)
}
