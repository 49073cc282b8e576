/**
 * The survey: the scan's dress rehearsal on the running target.
 *
 * It tells how much memory the dump will need, which chunks are dense, and has every thread run its code
 * once. Nothing of it enters the snapshot.
 */
import { countBits, WORD_SLOTS } from '../core/bitmap.js'
import { CHUNK_PAGES, chunkDirectory, type ChunkDirectory } from '../core/chunks.js'
import { planDump, type DumpPlan } from '../core/plan.js'
import { monotonicMicros } from '../kernel/clock.js'
import type { KernelFeatures } from '../kernel/features.js'
import type { TargetIdentity } from '../kernel/target.js'
import { readAddressSpace, type AddressSpace } from './address-space.js'
import type { Crew } from './crew.js'
import { findHolesIn, listedBits, type ListedBits } from './interval.js'
import { scanTarget } from './scan-target.js'
import type { Tracking } from './tracking.js'

/** What the survey found. */
export interface Survey {
  readonly space: AddressSpace
  readonly chunks: ChunkDirectory
  /** Pages to store in each chunk, as of then. */
  readonly weights: Int32Array
  /** What would have been stored then. */
  readonly plan: DumpPlan
  /** The parent's pages over `chunks`; undefined without a parent. */
  readonly listed: ListedBits | undefined
}

/** Times that the scan is rehearsed, and how long a scan may take, in microseconds, to be rehearsed again. */
const REHEARSALS = 4
const LONG_SCAN_US = 50_000

/**
 * Reads the address space and scans it while the target runs, some times over.
 *
 * @param expired - whether to give up: what takes too long now would take too long with the target frozen
 */
export function surveyTarget(
  target: TargetIdentity,
  features: KernelFeatures,
  tracking: Tracking,
  crew: Crew,
  expired: () => boolean,
): Survey {
  const space = readAddressSpace(target, features)
  let found: Omit<Survey, 'space' | 'listed'> = {
    chunks: chunkDirectory([]),
    weights: new Int32Array(0),
    plan: planDump(chunkDirectory([]), new Int32Array(0)),
  }
  for (let round = 0; round < REHEARSALS; round++) {
    const begun = monotonicMicros()
    const scanned = scanTarget({
      target,
      features,
      dirtyBit: tracking.tracker?.dirtyBit ?? 'all',
      segments: space.segments,
      chunks: found.chunks,
      weights: found.weights,
      shardPages: undefined,
      workers: crew.size,
      frozen: false,
      run: (job) => crew.runBlocking(job, expired),
    })
    const { chunks, present } = scanned
    const { bits } = findHolesIn(tracking, scanned, space.vmas, target, [])
    found = { chunks, weights: chunkWeights(present, chunks.count), plan: planDump(chunks, present, bits) }
    if (monotonicMicros() - begun > LONG_SCAN_US) break
  }
  const { parent } = tracking
  const { chunks } = found
  const listed = parent === undefined ? undefined : { chunks, inParent: listedBits(chunks, parent) }
  return { space, ...found, listed }
}

/** Set bits of each of the first `chunks` chunks. */
export function chunkWeights(present: Int32Array, chunks: number): Int32Array {
  const words = CHUNK_PAGES / WORD_SLOTS
  return Int32Array.from({ length: chunks }, (_, index) =>
    countBits(present, index * words, (index + 1) * words),
  )
}
