/** Compares captured pages with those of a chain of images: which are the same, byte by byte. */
import { setBits } from '../core/bitmap.js'
import { rowAt } from '../core/chain-pages.js'
import { runAtOffset } from '../core/plan.js'
import { TidemarkError } from '../errors.js'
import { memcmp, preadAt } from '../kernel/libc.js'
import { pageSize } from '../kernel/page-size.js'
import { takePiece } from './control.js'
import type { CompareJob } from './jobs.js'

/** What one thread compared. */
export interface CompareCounts {
  readonly pieces: number
  readonly pages: number
}

/**
 * Compares batches from the queue until it is empty.
 *
 * @param thread - index of this thread, which has the buffer of that number
 */
export function comparePages(job: CompareJob, control: Int32Array, thread: number): CompareCounts {
  const batches = Math.ceil(job.stagedPages / job.batchPages)
  const buffer = job.bufferAddress + thread * job.batchPages * pageSize()
  let pieces = 0
  let pages = 0
  for (let batch = takePiece(control, batches); batch >= 0; batch = takePiece(control, batches)) {
    const start = batch * job.batchPages
    const end = Math.min(job.stagedPages, start + job.batchPages)
    compareBatch(job, start, end, buffer)
    pieces++
    pages += end - start
  }
  return { pieces, pages }
}

/** Compares captured pages [`start`, `end`), run by run. */
function compareBatch(job: CompareJob, start: number, end: number, buffer: number): void {
  const { plan } = job
  for (let run = runAtOffset(plan, start), at = start; at < end; run++) {
    const stop = Math.min(end, plan.offsetPages[run + 1] ?? end)
    const page = (plan.startPage[run] ?? 0) + at - (plan.offsetPages[run] ?? 0)
    compareRun(job, page, at, stop - at, buffer)
    at = stop
  }
}

/** Compares `pages` consecutive pages of the target, captured at place `offset`, with where the chain has them. */
function compareRun(job: CompareJob, page: number, offset: number, pages: number, buffer: number): void {
  const { located } = job
  for (let row = rowAt(located, page); row < located.count; row++) {
    const first = located.startPage[row] ?? 0
    const start = Math.max(page, first)
    const end = Math.min(page + pages, first + (located.pageCount[row] ?? 0))
    if (start >= end) return
    const fd = job.pagesFds[located.link[row] ?? 0] ?? -1
    readPages(fd, buffer, end - start, (located.filePage[row] ?? 0) + start - first)
    markSame(job, offset + start - page, end - start, buffer)
  }
}

function markSame(job: CompareJob, offset: number, pages: number, buffer: number): void {
  const size = pageSize()
  const captured = job.stagingAddress + offset * size
  if (memcmp(captured, buffer, pages * size) === 0) {
    setBits(job.same, offset, offset + pages)
    return
  }
  for (let index = 0; index < pages; index++) {
    if (memcmp(captured + index * size, buffer + index * size, size) === 0)
      setBits(job.same, offset + index, offset + index + 1)
  }
}

function readPages(fd: number, buffer: number, pages: number, filePage: number): void {
  const size = pageSize()
  if (preadAt(fd, buffer, pages * size, filePage * size) === pages * size) return
  throw new TidemarkError('BAD_IMAGE', 'a pages file of the parent images has shrunk, or cannot be read')
}
