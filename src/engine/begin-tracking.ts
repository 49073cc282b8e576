/**
 * How tracking begins in a standing target, and how it is taken off again where the dump fails: nothing stays that is
 * not on record.
 *
 *   left behind by a killed run: closed ─▶ looked at again ─▶ begun ─▶ ... ─▶ on record, reset
 *                                                              └▶ failed: unregistered, closed
 */
import type { Vma } from '../core/vma.js'
import { codeOf, TidemarkError } from '../errors.js'
import {
  pinningName,
  registeredBuffers,
  resurveyDescriptors,
  type OpenDescriptors,
} from '../kernel/descriptors.js'
import { pageSize } from '../kernel/page-size.js'
import type { TargetIdentity } from '../kernel/target.js'
import type { PinnedRange } from '../track/tracker.js'
import { readRecord, removeRecord } from './interval-record.js'
import { forgetOpening, leftUserfaultfds, openOnNote, usesUserfaultfd } from './left-userfaultfds.js'
import type { Survey } from './survey.js'
import { pinningObstacle, type Tracking } from './tracking.js'

/** What {@link beginTracking} needs of the window. */
export interface BeginInput {
  readonly target: TargetIdentity
  readonly tracking: Tracking
  readonly survey: Survey
  readonly snapshotId: string
  /** Opens a userfaultfd inside the standing target. */
  readonly openUserfaultfd: () => number
}

/** Closes a descriptor inside the standing target. */
type CloseDescriptor = (fd: number) => void

/**
 * Begins tracking where it has not yet, with the target standing; what is pinned in it now.
 *
 * @throws TRACKER_UNAVAILABLE, where `auto` chose also for a device that the process has taken up since
 */
export function beginTracking(input: BeginInput, vmas: readonly Vma[]): readonly PinnedRange[] {
  const { target, tracking, survey } = input
  const { tracker } = tracking
  if (tracker?.hasIntervals !== true) return []
  const hasOthers = countPinning(vmas) !== countPinning(survey.space.vmas)
  const now = resurveyDescriptors(target.tid, tracking.descriptors, hasOthers)
  if (tracking.isAuto) refusePinning(target.pid, now, vmas)
  tracker.prepare({
    vmas,
    usesUserfaultfd: () => usesUserfaultfd(target, now),
    openUserfaultfd: () => openOnNote(target, now, input.openUserfaultfd),
  })
  return pinnedRanges(target.tid, now)
}

/** The buffers that io_uring has pinned, in pages. */
function pinnedRanges(tid: number, { rings }: OpenDescriptors): PinnedRange[] {
  const size = pageSize()
  return registeredBuffers(tid, rings).map(({ address, length }) => {
    const startPage = Math.floor(address / size)
    return { startPage, pages: Math.ceil((address + length) / size) - startPage }
  })
}

/**
 * Takes off what a dump that has failed has begun, with the target standing if it still does. Where that fails, the note
 * or the record tells the next run.
 */
export function giveUpTracking({ target, tracking, snapshotId }: BeginInput, close: CloseDescriptor): void {
  try {
    if (tracking.tracker?.giveUp(close) !== true) return
  } catch {
    // The failure before it is what has to be told.
    return
  }
  forgetOpening(target)
  if (readRecord(target)?.snapshotId === snapshotId) removeRecord(target)
}

/** Closes what a killed run has left in the standing target; where that is refused, the next run will. */
export function closeLeft(target: TargetIdentity, close: CloseDescriptor): void {
  try {
    for (const { fd } of leftUserfaultfds(target)) close(fd)
    forgetOpening(target)
  } catch (error) {
    if (codeOf(error) !== 'INJECTION_REFUSED') throw error
  }
}

function countPinning(vmas: readonly Vma[]): number {
  return vmas.filter(({ path }) => pinningName(path) !== undefined).length
}

function refusePinning(pid: number, now: OpenDescriptors, vmas: readonly Vma[]): void {
  const obstacle = pinningObstacle(now, vmas)
  if (obstacle !== '') throw new TidemarkError('TRACKER_UNAVAILABLE', obstacle, { pid })
}
