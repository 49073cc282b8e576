/** What a thread of the crew can be asked to do. Plain data over shared memory: nothing large is copied. */
import type { LocatedPages } from '../core/chain-pages.js'
import type { ChunkDirectory } from '../core/chunks.js'
import type { DirtyBit } from '../core/page-ranges.js'
import type { PageMoves } from '../core/page-moves.js'
import type { DumpPlan } from '../core/plan.js'
import type { Segments } from '../core/segments.js'
import type { Shards } from '../core/shards.js'
import type { ErrorData } from '../errors.js'
import type { KernelFeatures } from '../kernel/features.js'

/** The process that a job is about. */
export interface JobTarget {
  readonly pid: number
  /** A live thread of it. */
  readonly tid: number
}

/** Faults in a piece of staging memory. */
export interface PopulateJob {
  readonly kind: 'populate'
  readonly address: number
  readonly byteLength: number
}

/** Sets the bits of the pages to store, shard by shard. */
export interface ScanJob extends JobTarget {
  readonly kind: 'scan'
  readonly features: KernelFeatures
  readonly dirtyBit: DirtyBit
  readonly chunks: ChunkDirectory
  readonly segments: Segments
  readonly shards: Shards
  /** Whether the shards cover the whole address space between them, or only their own chunks. */
  readonly coverGaps: boolean
  readonly present: Int32Array
  readonly dirty: Int32Array
  /** The target stands still: pages that look swapped out are probed, since some cannot be read. */
  readonly frozen: boolean
}

/** Copies the planned pages: to staging memory as far as it reaches, the rest straight to the pages file. */
export interface CopyJob extends JobTarget {
  readonly kind: 'copy'
  readonly plan: DumpPlan
  /** Where each page of the plan goes in the pages file. */
  readonly places: PageMoves
  /** Pages of the plan to copy, from the first on. */
  readonly pages: number
  readonly batchPages: number
  /** Where page 0 of the plan is staged. */
  readonly stagingAddress: number
  /** Pages of the plan below this are staged; a multiple of `batchPages`, or all. */
  readonly stagedPages: number
  /** One buffer of `batchPages` for each thread, for what is streamed. */
  readonly streamAddress: number
  readonly pagesFd: number
  /**
   * Where the target runs: a bit for each page of the plan, set where the page is gone. Without it a page that
   * cannot be read fails the job.
   */
  readonly gone: Int32Array | undefined
}

/** Compares staged pages with those of a chain of images. */
export interface CompareJob {
  readonly kind: 'compare'
  readonly plan: DumpPlan
  readonly stagingAddress: number
  /** Pages from the first on that are staged. */
  readonly stagedPages: number
  readonly batchPages: number
  /** One buffer of `batchPages` for each thread. */
  readonly bufferAddress: number
  readonly located: LocatedPages
  /** Descriptor of each link's pages file. */
  readonly pagesFds: readonly number[]
  /** A bit for each page of the plan: set where the chain has the same bytes. */
  readonly same: Int32Array
}

/** Write-protects the written pages of the target. */
export interface ProtectJob extends JobTarget {
  readonly kind: 'protect'
  readonly features: KernelFeatures
  readonly chunks: ChunkDirectory
  /** Of what is registered. */
  readonly segments: Segments
  readonly shards: Shards
  /** What the scan found dirty: nothing else may need protection. */
  readonly dirty: Int32Array
  /** Nothing is protected: the target runs. */
  readonly isRehearsal: boolean
}

/** Writes staging memory to the pages file, each byte to its final offset. */
export interface WriteJob {
  readonly kind: 'write'
  readonly pagesFd: number
  /** Where staged page 0 is. */
  readonly address: number
  /** From places in staging memory to places in the file. */
  readonly moves: PageMoves
  /** Pages to write, of all that the moves move the first ones. */
  readonly pages: number
  readonly bufferPages: number
}

/** Ends the thread's long task. */
export interface EndJob {
  readonly kind: 'end'
}

/** A job of any kind. */
export type Job = PopulateJob | ScanJob | CopyJob | CompareJob | ProtectJob | WriteJob | EndJob

/** What one thread did in one phase. */
export interface JobReport {
  /** Time at work, in microseconds. */
  readonly micros: number
  /** Shards, batches or pieces that it took. */
  readonly pieces: number
  /** Pages found, copied or written. */
  readonly pages: number
  /** Numbers of pages that are there but cannot be read: guard pages of older kernels, poisoned pages. */
  readonly unreadable: readonly number[]
  /** First page and end of each range of guard pages, in turn. */
  readonly guards: readonly number[]
  /** Numbers of chunks that hold pages but have no slots in this job. */
  readonly slotlessChunks: readonly number[]
  /** Pages read through /proc/PID/mem. */
  readonly forcedPages: number
  /** Pages written to the file while the target stood still. */
  readonly streamedPages: number
  readonly error?: ErrorData
}

/** A report of nothing. */
export const NO_WORK: JobReport = {
  micros: 0,
  pieces: 0,
  pages: 0,
  unreadable: [],
  guards: [],
  slotlessChunks: [],
  forcedPages: 0,
  streamedPages: 0,
}
