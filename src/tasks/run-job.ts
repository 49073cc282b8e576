/** One job on one thread, whichever thread that is. */
import { openPagemap } from '../kernel/open-pagemap.js'
import { populate } from '../kernel/staging.js'
import { TargetMemory } from '../kernel/target-memory.js'
import { takePiece } from './control.js'
import { comparePages } from './compare-pages.js'
import { copyPages } from './copy-pages.js'
import { NO_WORK, type CopyJob, type Job, type JobReport, type PopulateJob, type ScanJob } from './jobs.js'
import { protectPages } from './protect-pages.js'
import { ShardScanner } from './scan-shard.js'
import { writePages } from './write-pages.js'

/** Bytes that one call faults in, so that several threads share the work evenly. */
const POPULATE_BYTES = 2 ** 25

/**
 * Does this thread's share of a job: takes pieces of it from the queue until there are none.
 *
 * @param thread - index of this thread in its crew
 */
export function runJob(job: Job, control: Int32Array, thread: number): JobReport {
  return { ...NO_WORK, ...work(job, control, thread) }
}

function work(job: Job, control: Int32Array, thread: number): Partial<JobReport> {
  switch (job.kind) {
    case 'populate':
      return runPopulate(job, control)
    case 'scan':
      return runScan(job, control)
    case 'copy':
      return runCopy(job, control, thread)
    case 'compare':
      return comparePages(job, control, thread)
    case 'protect':
      return protectPages(job, control)
    case 'write':
      return writePages(job, control)
    case 'end':
      return {}
  }
}

function runPopulate(job: PopulateJob, control: Int32Array): Partial<JobReport> {
  const total = Math.ceil(job.byteLength / POPULATE_BYTES)
  let pieces = 0
  for (let piece = takePiece(control, total); piece >= 0; piece = takePiece(control, total)) {
    const offset = piece * POPULATE_BYTES
    populate(job.address + offset, Math.min(POPULATE_BYTES, job.byteLength - offset))
    pieces++
  }
  return { pieces }
}

function runScan(job: ScanJob, control: Int32Array): Partial<JobReport> {
  const source = openPagemap(job.tid, job.features, job.dirtyBit)
  const memory = new TargetMemory(job.pid, job.tid)
  try {
    const scanner = new ShardScanner(job, source, memory)
    let pieces = 0
    for (
      let shard = takePiece(control, job.shards.count);
      shard >= 0;
      shard = takePiece(control, job.shards.count)
    ) {
      scanner.scan(shard)
      pieces++
    }
    scanner.finish()
    const { pages, unreadable, slotlessChunks, guards } = scanner
    return { pieces, pages, unreadable, slotlessChunks, guards }
  } finally {
    memory.close()
    source.close()
  }
}

function runCopy(job: CopyJob, control: Int32Array, thread: number): Partial<JobReport> {
  const memory = new TargetMemory(job.pid, job.tid)
  try {
    const counts = copyPages(job, memory, control, thread)
    return { ...counts, forcedPages: memory.forcedPages }
  } finally {
    memory.close()
  }
}
