/** The work of the C twin: the same segments, slots and shards that Tidemark's workers would get. */
import { countBits, WORD_SLOTS } from '../src/core/bitmap.js'
import { CHUNK_PAGES, chunkDirectory } from '../src/core/chunks.js'
import type { Segments } from '../src/core/segments.js'
import type { Shards } from '../src/core/shards.js'
import { readAddressSpace } from '../src/engine/address-space.js'
import { scanTarget, type ScanInput } from '../src/engine/scan-target.js'
import { PAGE_IS } from '../src/kernel/abi.js'
import { probeKernel } from '../src/kernel/features.js'
import { pageSize } from '../src/kernel/page-size.js'
import { examineTarget } from '../src/kernel/target.js'
import { allocateControl, CREW } from '../src/tasks/control.js'
import { runJob } from '../src/tasks/run-job.js'

/** What the twin reads before it starts. */
export interface TwinWork {
  readonly pid: number
  readonly threads: number
  readonly pageBytes: number
  /** Categories of pages that the scan asks to be told. */
  readonly returned: number
  readonly chunks: readonly number[]
  readonly segments: Segments
  readonly shards: Shards
}

/** Surveys the running process `pid` as a dump with `threads` workers does. */
export function surveyForTwin(pid: number, threads: number): TwinWork {
  const target = examineTarget(pid)
  const features = probeKernel()
  const { segments } = readAddressSpace(target, features)
  const input: ScanInput = {
    target,
    features,
    dirtyBit: 'all',
    segments,
    chunks: chunkDirectory([]),
    weights: new Int32Array(0),
    shardPages: undefined,
    workers: threads,
    frozen: false,
    run: (job) => [runJob(job, allocateControl(CREW.words), 0)],
  }
  const { chunks, present } = scanTarget(input)
  const words = CHUNK_PAGES / WORD_SLOTS
  const weights = Int32Array.from({ length: chunks.count }, (_, index) =>
    countBits(present, index * words, (index + 1) * words),
  )
  // The second look cuts the shards by what the first one found.
  const { shards } = scanTarget({ ...input, chunks, weights })
  return {
    pid,
    threads,
    pageBytes: pageSize(),
    returned: PAGE_IS.SWAPPED | (features.guardCategory ? PAGE_IS.GUARD : 0),
    chunks: [...chunks.numbers],
    segments,
    shards,
  }
}

/** `work` as the text that the twin reads. */
export function formatWork(work: TwinWork): string {
  const { pid, threads, pageBytes, returned, chunks, segments, shards } = work
  const lines = [
    [pid, threads, pageBytes, returned],
    [chunks.length],
    chunks,
    [segments.count],
    ...rowsOf(segments.count, [segments.startPage, segments.endPage, segments.storeClass]),
    [shards.count],
    ...rowsOf(shards.count, [shards.startSlot, shards.endSlot]),
  ]
  return `${lines.map((numbers) => numbers.join(' ')).join('\n')}\n`
}

function rowsOf(count: number, columns: readonly ArrayLike<number>[]): number[][] {
  return Array.from({ length: count }, (_, row) => columns.map((column) => column[row] ?? 0))
}
