/**
 * Dirty trackers: what tells which pages of a process were written since a moment that we choose.
 *
 *   reset          write ...  write           look
 *   |<---------------- interval ------------->|
 *   all clean      dirty: at least the pages written, never fewer
 *
 * A tracker may call a page dirty that was not written; it must never call one clean that was.
 */
import type { DirtyBit } from '../core/page-ranges.js'
import type { Vma } from '../core/vma.js'

/** All trackers, in the order in which `auto` tries them. */
export const TRACKER_NAMES = ['soft-dirty', 'uffd-wp', 'content'] as const

/** Name of a tracker. */
export type TrackerName = (typeof TRACKER_NAMES)[number]

/** What keeps a tracker going between two runs of Tidemark; plain data, part of the interval's record. */
export interface TrackerState {
  /** The userfaultfd in the target: its descriptor there and its inode. */
  readonly userfaultfd?: { readonly fd: number; readonly inode: number }
  /** What was pinned at the reset: dirty at the next dump, though nobody has seen a write. */
  readonly pinned?: readonly PinnedRange[]
}

/** Pages that the kernel may write to unseen: io_uring has them pinned. */
export interface PinnedRange {
  readonly startPage: number
  readonly pages: number
}

/** Which process is tracked. */
export interface TrackedProcess {
  readonly pid: number
  /** A live thread of it. */
  readonly tid: number
}

/** A standing target, before anything of it is read. */
export interface UnreadTarget {
  readonly vmas: readonly Vma[]
  /** Whether it has a userfaultfd that is not ours. */
  readonly usesUserfaultfd: () => boolean
  /** Opens a userfaultfd inside the target; its descriptor there. Writes to the target's memory. */
  readonly openUserfaultfd: () => number
}

/** A standing target whose dirty bits have been read. */
export interface ReadTarget {
  readonly vmas: readonly Vma[]
  /**
   * Write-protects the written pages of those VMAs again, on all threads. Throws `TARGET_CHANGED` where it meets
   * a written page that the scan before had not found dirty.
   */
  readonly protect: (watched: ReadonlySet<Vma>) => void
}

/** One tracker on one process. */
export interface Tracker {
  readonly name: TrackerName
  /** What the scan takes for written since the last reset. */
  readonly dirtyBit: DirtyBit
  /**
   * Whether {@link reset} ends an interval: then it must be on record before, and holes are right only for
   * the snapshot that began the interval.
   */
  readonly hasIntervals: boolean
  /**
   * Begins tracking where it has not yet. What it does to the target's memory, the scan after it sees.
   *
   * Throws `TRACKER_UNAVAILABLE` where that cannot be done without harm to the target.
   */
  prepare(target: UnreadTarget): void
  /** What tracking leaves in the target, and how to take it off, where it has just begun; else empty. */
  notice(): string
  /** What the next run has to know; belongs into the record, before the reset. */
  state(): TrackerState
  /** Makes every page clean: ends one interval and begins the next. */
  reset(target: ReadTarget): void
  /**
   * Takes off what {@link prepare} has begun, after a failure, with the target standing. False where it had begun nothing:
   * tracking of earlier runs goes on.
   *
   * @param closeDescriptor - closes one inside the target
   */
  giveUp(closeDescriptor: (fd: number) => void): boolean
  close(): void
}
