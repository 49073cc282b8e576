/** The increment's part of the frozen window: what is a hole, and the end of one interval and the begin of the next. */
import { allocateBitmap, countBits, WORD_SLOTS } from '../core/bitmap.js'
import { CHUNK_PAGES, slotCount, type ChunkDirectory } from '../core/chunks.js'
import { vmaFate } from '../core/fate.js'
import { findHoles, runBits, setPageBits } from '../core/holes.js'
import { RunList } from '../core/page-runs.js'
import { buildSegments } from '../core/segments.js'
import { shardsOfChunks } from '../core/shards.js'
import { vmaPages, type Vma } from '../core/vma.js'
import { isTidemarkError, TidemarkError } from '../errors.js'
import { stubPlaces, type StubPlaces } from '../kernel/call-stub.js'
import { markOf, readMark, writeMark } from '../kernel/interval-mark.js'
import { probeKernel } from '../kernel/features.js'
import { readBootId } from '../kernel/procfs.js'
import type { TargetIdentity } from '../kernel/target.js'
import type { PinnedRange, Tracker } from '../track/tracker.js'
import { canaryObjection, chooseCanary, drawCanary } from './canary.js'
import type { Crew } from './crew.js'
import { readRecord, writeRecord } from './interval-record.js'
import { forgetOpening } from './left-userfaultfds.js'
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

/**
 * Applies the hole rule, if the parent's interval is still whole.
 *
 * @param pinned - what io_uring has pinned now
 */
export function findHolesIn(
  tracking: Tracking,
  scanned: Scanned,
  vmas: readonly Vma[],
  target: TargetIdentity,
  pinned: readonly PinnedRange[],
  known?: ListedBits,
): FoundHoles {
  const { tracker, parent, fullBecause } = tracking
  const none = { bits: undefined, cleanNotInParent: 0 }
  if (tracker === undefined || parent === undefined) return { ...none, fullBecause }
  // Bytes are compared later: now every page is taken.
  if (tracker.dirtyBit === 'all') return { ...none, fullBecause: '' }
  const objection = intervalObjection(tracking, tracker, scanned, target, stubPlaces(vmas))
  if (objection !== '') return { ...none, fullBecause: objection }
  markUnwatched(scanned, vmas, [...tracking.pinnedBefore, ...pinned])
  const inParent = known?.chunks === scanned.chunks ? known.inParent : listedBits(scanned.chunks, parent)
  return { ...findHoles(scanned.present, scanned.dirty, inParent), fullBecause: '' }
}

/** What speaks against the interval since the parent, as of now; empty where nothing does. */
function intervalObjection(
  tracking: Tracking,
  tracker: Tracker,
  scanned: Scanned,
  target: TargetIdentity,
  places: StubPlaces,
): string {
  const { mark } = tracking
  if (mark !== undefined && readMark(target.pid, target.tid, places) !== mark)
    return 'a run of Tidemark that keeps its records elsewhere has dumped the process since'
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

/**
 * Counts as dirty what no tracker watches: huge pages of their own pool, and what io_uring has pinned, or had when the
 * interval began.
 */
function markUnwatched(
  { chunks, dirty }: Scanned,
  vmas: readonly Vma[],
  pinned: readonly PinnedRange[],
): void {
  for (const vma of vmas)
    if (vma.flags?.has('ht') === true) setPageBits(chunks, dirty, vma.startPage, vmaPages(vma))
  for (const { startPage, pages } of pinned) setPageBits(chunks, dirty, startPage, pages)
}

/** What {@link beginInterval} needs of the window. */
export interface IntervalInput {
  readonly target: TargetIdentity
  readonly tracker: Tracker
  readonly snapshotId: string
  /** What io_uring has pinned now: its writes will not be seen. */
  readonly pinned: readonly PinnedRange[]
  readonly crew: Crew
  readonly expired: () => boolean
  readonly steadily: (work: () => void) => boolean
  readonly onStep: (step: DumpStep) => void
}

/**
 * Ends the interval of the parent and begins that of this snapshot: on record first, then for the kernel.
 *
 * The target stands; all that the snapshot needs of the dirty bits has been read.
 */
export function beginInterval(input: IntervalInput, scanned: Scanned, vmas: readonly Vma[]): void {
  const { target, tracker, snapshotId, pinned } = input
  if (!tracker.hasIntervals) return
  const canary = chooseCanary(tracker.name, vmas, scanned)
  const { pid, startTimeTicks, auxRandom, exe } = target
  const state = { ...tracker.state(), pinned }
  const places = stubPlaces(vmas)
  writeRecord({
    bootId: readBootId(),
    ...{ pid, startTimeTicks, auxRandom, exe, snapshotId, state, canary },
    tracker: tracker.name,
    marked: readMark(pid, target.tid, places) !== undefined,
  })
  // The record first: killed in between, the next run finds it of no snapshot.
  writeMark(pid, target.tid, places, markOf(snapshotId))
  forgetOpening(target)
  input.onStep('recorded')
  tracker.reset({
    vmas,
    protect: (watched: ReadonlySet<Vma>) => {
      protect(input, scanned, vmas, watched)
    },
  })
  input.onStep('reset')
  // Where it cannot be drawn the next dump does not find it, and is full. A byte is read and written back: if the target
  // ran again meanwhile, that could undo a write of its own.
  input.steadily(() => drawCanary(target.tid, canary))
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
  const { pid, tid } = target
  try {
    crew.runBlocking(
      {
        kind: 'protect',
        pid,
        tid,
        features: probeKernel(),
        chunks,
        segments,
        shards,
        dirty,
        isRehearsal: false,
      },
      expired,
    )
  } catch (error) {
    if (!isTidemarkError(error) || error.details.errno !== 'EPERM') throw error
    const message = `memory of process ${String(pid)} cannot be write-protected, it may use userfaultfd itself; choose --tracker content`
    throw new TidemarkError('TRACKER_UNAVAILABLE', message, { pid }, error)
  }
}

/** Has the crew go through a reset by write protection without one: the code is compiled by then. */
export function rehearseProtection(
  { pid, tid }: TargetIdentity,
  crew: Crew,
  { chunks }: Pick<Scanned, 'chunks'>,
  vmas: readonly Vma[],
  expired: () => boolean,
): void {
  const segments = buildSegments(vmas, true, (vma) =>
    vmaFate(vma).store === 'anonymous' ? 'anonymous' : 'none',
  )
  const shards = shardsOfChunks(Array.from({ length: chunks.count }, (_, index) => index))
  const dirty = allocateBitmap(slotCount(chunks))
  const job = { pid, tid, features: probeKernel(), chunks, segments, shards, dirty, isRehearsal: true }
  crew.runBlocking({ kind: 'protect', ...job }, expired)
}

/** Indices of the chunks that have a dirty page: the others need no protection. */
function dirtyChunks(chunks: ChunkDirectory, dirty: Int32Array): number[] {
  const words = CHUNK_PAGES / WORD_SLOTS
  return Array.from({ length: chunks.count }, (_, index) => index).filter(
    (index) => countBits(dirty, index * words, (index + 1) * words) > 0,
  )
}
