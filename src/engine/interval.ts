/** The increment's part of the frozen window: what is a hole, and the end of one interval and the begin of the next. */
import { countBits } from '../core/bitmap.js'
import { vmaFate } from '../core/fate.js'
import { findHoles, runBits } from '../core/holes.js'
import { RunList, type PageRuns } from '../core/page-runs.js'
import { buildSegments } from '../core/segments.js'
import { shardsOfChunks } from '../core/shards.js'
import type { Vma } from '../core/vma.js'
import type { Pagemap } from '../image/pagemap.js'
import { registeredBuffers } from '../kernel/descriptors.js'
import { probeKernel } from '../kernel/features.js'
import { pageSize } from '../kernel/page-size.js'
import { readBootId } from '../kernel/procfs.js'
import type { TargetIdentity } from '../kernel/target.js'
import type { Tracker } from '../track/tracker.js'
import { canaryObjection, chooseCanary, drawCanary } from './canary.js'
import type { Crew } from './crew.js'
import { writeRecord } from './interval-record.js'
import type { DumpStep } from './options.js'
import type { Scanned } from './scan-target.js'
import type { Tracking } from './tracking.js'

/** What the hole rule made of a scan. */
export interface FoundHoles {
  /** Bits of the pages that are left to the parent; undefined for a full dump. */
  readonly bits: Int32Array | undefined
  readonly cleanNotInParent: number
  /** Why the dump is full though a parent was given; empty where it is not. */
  readonly fullBecause: string
}

/** Applies the hole rule, if the parent's interval is still whole. */
export function findHolesIn(
  { tracker, parent, canary, fullBecause }: Tracking,
  scanned: Scanned,
  vmas: readonly Vma[],
  pid: number,
): FoundHoles {
  const none = { bits: undefined, cleanNotInParent: 0 }
  if (tracker === undefined || parent === undefined) return { ...none, fullBecause }
  // Bytes are compared later: now every page is taken.
  if (tracker.dirtyBit === 'all') return { ...none, fullBecause: '' }
  const objection = canary === undefined ? '' : canaryObjection(tracker.name, canary, scanned)
  if (objection !== '') return { ...none, fullBecause: objection }
  markUnwatched(scanned, vmas, pid)
  const listed = runBits(scanned.chunks, listedPages(parent.chain.links[0]?.pagemap))
  return { ...findHoles(scanned.present, scanned.dirty, listed), fullBecause: '' }
}

/** All pages that a pagemap lists, in its own file or in its parent's. */
function listedPages(pagemap: Pagemap | undefined): PageRuns {
  const list = new RunList()
  for (let row = 0; row < (pagemap?.count ?? 0); row++)
    list.add(pagemap?.startPage[row] ?? 0, pagemap?.pageCount[row] ?? 0)
  return list.toRuns()
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
  // Where it cannot be drawn the next dump does not find it, and is full.
  drawCanary(target.tid, canary)
  input.onStep('canary drawn')
}

function protect(
  { target, crew, expired }: IntervalInput,
  { chunks, dirty }: Scanned,
  vmas: readonly Vma[],
  watched: ReadonlySet<Vma>,
): void {
  if (countBits(dirty) === 0) return
  const segments = buildSegments(vmas, true, (vma) => (watched.has(vma) ? vmaFate(vma).store : 'none'))
  const shards = shardsOfChunks(Array.from({ length: chunks.count }, (_, index) => index))
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
