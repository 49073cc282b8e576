/**
 * The scan: bits of all pages to store. The same for the rehearsal, for the standing target, and for one page
 * that is to be explained.
 *
 *   known chunks    |##|    |##|##|          slots from an earlier look
 *   first pass      everything, gaps too     bits where there are slots; chunks that turn out populated are noted
 *   second pass                  |##|        only those, with slots of their own
 *
 * Page tables of a sparse process are walked once this way, not once to find the chunks and again to scan them.
 */
import { allocateBitmap, WORD_SLOTS } from '../core/bitmap.js'
import { CHUNK_PAGES, chunkDirectory, lowerChunk, slotCount, type ChunkDirectory } from '../core/chunks.js'
import type { DirtyBit } from '../core/page-ranges.js'
import type { Segments } from '../core/segments.js'
import { cutShards, defaultShardPages, shardsOfChunks, type Shards } from '../core/shards.js'
import type { KernelFeatures } from '../kernel/features.js'
import { NO_WORK, type JobReport, type JobTarget, type ScanJob } from '../tasks/jobs.js'

/** What to scan, and how. */
export interface ScanInput {
  readonly target: JobTarget
  readonly features: KernelFeatures
  readonly dirtyBit: DirtyBit
  readonly segments: Segments
  /** Chunks that are known to be populated; may be empty, and need not be right. */
  readonly chunks: ChunkDirectory
  /** Populated pages of each of these chunks, as far as one knows. */
  readonly weights: Int32Array
  /** Weight of a shard; undefined for the default. */
  readonly shardPages: number | undefined
  /** How many threads will work on it. */
  readonly workers: number
  /** Whether the target stands still. */
  readonly frozen: boolean
  /** Has the threads do a job. */
  readonly run: (job: ScanJob) => readonly JobReport[]
}

/** What a scan found. */
export interface Scanned extends Bitmaps {
  readonly chunks: ChunkDirectory
  readonly shards: Shards
  /** A report for each thread. */
  readonly reports: readonly JobReport[]
  /** Pages appeared where there were none a moment before: the target runs, or somebody writes to it. */
  readonly unsteady: boolean
}

interface Bitmaps {
  readonly present: Int32Array
  readonly dirty: Int32Array
}

/** What looking at a chunk costs, in pages: a sparse chunk is not free. */
const CHUNK_COST = 128

/** Scans the target. */
export function scanTarget(input: ScanInput): Scanned {
  const { chunks } = input
  const costs = input.weights.map((weight) => weight + CHUNK_COST)
  const total = costs.reduce((sum, cost) => sum + cost, 0)
  const shards = cutShards(costs, input.shardPages ?? defaultShardPages(total, input.workers))
  const bitmaps = allocateBitmaps(chunks)
  const reports = input.run(
    scanJob(input, chunks, bitmaps, chunks.count === 0 ? shardsOfChunks([0]) : shards, true),
  )
  const found = reports.flatMap((report) => report.slotlessChunks)
  if (found.length === 0) return { chunks, shards, ...bitmaps, reports, unsteady: false }
  return { shards, ...scanFoundChunks(input, bitmaps, found, reports) }
}

/** The second pass: `found` chunks get slots too, and are scanned. */
function scanFoundChunks(
  input: ScanInput,
  before: Bitmaps,
  found: readonly number[],
  reports: readonly JobReport[],
): Omit<Scanned, 'shards'> {
  const chunks = chunkDirectory([...input.chunks.numbers, ...found])
  const after = allocateBitmaps(chunks)
  const words = CHUNK_PAGES / WORD_SLOTS
  for (let index = 0; index < input.chunks.count; index++) {
    const to = lowerChunk(chunks, input.chunks.numbers[index] ?? 0) * words
    after.present.set(before.present.subarray(index * words, (index + 1) * words), to)
    after.dirty.set(before.dirty.subarray(index * words, (index + 1) * words), to)
  }
  const shards = shardsOfChunks([...new Set(found)].map((chunk) => lowerChunk(chunks, chunk)))
  const second = input.run(scanJob(input, chunks, after, shards, false))
  const unsteady = second.some((report) => report.slotlessChunks.length > 0)
  const sums = reports.map((report, thread) => addReports(report, second[thread] ?? NO_WORK))
  return { chunks, ...after, reports: sums, unsteady }
}

/** A thread's two reports as one. Guard and unreadable pages were seen by the first pass already. */
function addReports(first: JobReport, second: JobReport): JobReport {
  return {
    ...first,
    micros: first.micros + second.micros,
    pieces: first.pieces + second.pieces,
    pages: first.pages + second.pages,
  }
}

function scanJob(
  { target, features, dirtyBit, segments, frozen }: ScanInput,
  chunks: ChunkDirectory,
  { present, dirty }: Bitmaps,
  shards: Shards,
  coverGaps: boolean,
): ScanJob {
  const { pid, tid } = target
  return {
    kind: 'scan',
    pid,
    tid,
    features,
    dirtyBit,
    chunks,
    segments,
    shards,
    coverGaps,
    present,
    dirty,
    frozen,
  }
}

function allocateBitmaps(chunks: ChunkDirectory): Bitmaps {
  return { present: allocateBitmap(slotCount(chunks)), dirty: allocateBitmap(slotCount(chunks)) }
}
