/** The increment's part of the frozen window: what is a hole, and the end of one interval and the begin of the next. */
import { countBits, WORD_SLOTS } from '../core/bitmap.js'
import { CHUNK_PAGES, type ChunkDirectory } from '../core/chunks.js'
import { vmaFate } from '../core/fate.js'
import { findHoles, runBits } from '../core/holes.js'
import { RunList } from '../core/page-runs.js'
import { buildSegments } from '../core/segments.js'
import { shardsOfChunks } from '../core/shards.js'
import type { Vma } from '../core/vma.js'
import { registeredBuffers } from '../kernel/descriptors.js'
import { probeKernel } from '../kernel/features.js'
import { pageSize } from '../kernel/page-size.js'
import { readBootId } from '../kernel/procfs.js'
import type { TargetIdentity } from '../kernel/target.js'
import type { Tracker } from '../track/tracker.js'
import { canaryObjection, chooseCanary, drawCanary } from './canary.js'
import type { Crew } from './crew.js'
import { readRecord, writeRecord } from './interval-record.js'
import type { DumpStep } from './options.js'
import type { Scanned } from './scan-target.js'
import type { Parent } from './parent.js'
import type { Tracking } from './tracking.js'

/** What the hole rule made of a scan. */
export interface FoundHoles {
  /** Bits of the pages that are left to the parent; undefined for a full dump. */
  readonly bits: Int32Array | undefined
  readonly cleanNotInParent: number
  /** Why the dump is full though a parent was given; empty where it is not. */
  readonly fullBecause: string
}

/** The parent's pages over the slots of some chunks: made before the freeze, good while the chunks are the same. */
export interface ListedBits {
  readonly chunks: ChunkDirectory
  readonly inParent: Int32Array
}

/** Applies the hole rule, if the parent's interval is still whole. */
export function findHolesIn(
  tracking: Tracking,
  scanned: Scanned,
  vmas: readonly Vma[],
  target: TargetIdentity,
  known?: ListedBits,
): FoundHoles {
  const { tracker, parent, fullBecause } = tracking
  const none = { bits: undefined, cleanNotInParent: 0 }
  if (tracker === undefined || parent === undefined) return { ...none, fullBecause }
  // Bytes are compared later: now every page is taken.
  if (tracker.dirtyBit === 'all') return { ...none, fullBecause: '' }
  const objection = intervalObjection(tracking, tracker, scanned, target)
  if (objection !== '') return { ...none, fullBecause: objection }
  markUnwatched(scanned, vmas, target.pid)
  const inParent = known?.chunks === scanned.chunks ? known.inParent : listedBits(scanned.chunks, parent)
  return { ...findHoles(scanned.present, scanned.dirty, inParent), fullBecause: '' }
}

/** What speaks against the interval since the parent, as of now; empty where nothing does. */
function intervalObjection(
  tracking: Tracking,
  tracker: Tracker,
  scanned: Scanned,
  target: TargetIdentity,
): string {
  // Another run may have been quicker since the record was read first.
  if ((readRecord(target)?.snapshotId ?? '') !== tracking.intervalId)
    return 'another dump of this process was taken meanwhile'
  return tracking.canary === undefined ? '' : canaryObjection(tracker.name, tracking.canary, scanned)
}

/** Bits of the pages that the parent's pagemap lists, in its own file or in its parent's. */
export function listedBits(chunks: ChunkDirectory, parent: Parent): Int32Array {
  const pagemap = parent.chain.links[0]?.pagemap
  const list = new RunList()
  for (let row = 0; row < (pagemap?.count ?? 0); row++)
    list.add(pagemap?.startPage[row] ?? 0, pagemap?.pageCount[row] ?? 0)
  return runBits(chunks, list.toRuns())
}

/** Counts as dirty what no tracker watches: huge pages of their own pool, and buffers that io_uring has pinned. */
function markUnwatched({ chunks, dirty }: Scanned, vmas: readonly Vma[], pid: number): void {
  const ranges: [start: number, end: number][] = []
  for (const vma of vmas) if (vma.flags?.has('ht') === true) ranges.push([vma.startPage, vma.endPage])
  const size = pageSize()
  for (const { address, length } of registeredBuffers(pid))
    ranges.push([Math.floor(address / size), Math.ceil((address + length) / size)])
  for (const [start, end] of ranges) {
    const list = new RunList()
    list.add(start, end - start)
    const bits = runBits(chunks, list.toRuns())
    for (let word = 0; word < dirty.length; word++) dirty[word] = (dirty[word] ?? 0) | (bits[word] ?? 0)
  }
}

/** What {@link beginInterval} needs of the window. */
export interface IntervalInput {
  readonly target: TargetIdentity
  readonly tracker: Tracker
  readonly snapshotId: string
  readonly crew: Crew
  readonly expired: () => boolean
  readonly onStep: (step: DumpStep) => void
}

/**
 * Ends the interval of the parent and begins that of this snapshot: on record first, then for the kernel.
 *
 * The target stands; all that the snapshot needs of the dirty bits has been read.
 */
export function beginInterval(input: IntervalInput, scanned: Scanned, vmas: readonly Vma[]): void {
  const { target, tracker, snapshotId } = input
  if (!tracker.hasIntervals) return
  const canary = chooseCanary(tracker.name, vmas, scanned)
  const { pid, startTimeTicks, auxRandom, exe } = target
  const state = tracker.state()
  writeRecord({
    bootId: readBootId(),
    ...{ pid, startTimeTicks, auxRandom, exe, snapshotId, state, canary },
    tracker: tracker.name,
  })
  input.onStep('recorded')
  tracker.reset({
    vmas,
    protect: (watched: ReadonlySet<Vma>) => {
      protect(input, scanned, vmas, watched)
    },
  })
  input.onStep('reset')
  // Where it cannot be drawn the next dump does not find it, and is full. A byte is read and written back: of a target
  // that runs again, since it had stood too long, that could undo a write of its own.
  if (!input.expired()) drawCanary(target.tid, canary)
  input.onStep('canary drawn')
}

function protect(
  { target, crew, expired }: IntervalInput,
  { chunks, dirty }: Scanned,
  vmas: readonly Vma[],
  watched: ReadonlySet<Vma>,
): void {
  const segments = buildSegments(vmas, true, (vma) => (watched.has(vma) ? vmaFate(vma).store : 'none'))
  const shards = shardsOfChunks(dirtyChunks(chunks, dirty))
  crew.runBlocking(
    {
      kind: 'protect',
      pid: target.pid,
      tid: target.tid,
      features: probeKernel(),
      chunks,
      segments,
      shards,
      dirty,
    },
    expired,
  )
}

/** Indices of the chunks that have a dirty page: the others need no protection. */
function dirtyChunks(chunks: ChunkDirectory, dirty: Int32Array): number[] {
  const words = CHUNK_PAGES / WORD_SLOTS
  return Array.from({ length: chunks.count }, (_, index) => index).filter(
    (index) => countBits(dirty, index * words, (index + 1) * words) > 0,
  )
}
