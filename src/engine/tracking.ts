/**
 * Which tracker a dump uses, and whether its parent's pages may be left out: every reason against it makes the dump
 * full, and is told.
 */
import type { Vma } from '../core/vma.js'
import { TidemarkError } from '../errors.js'
import { probeAsyncProtect } from '../kernel/async-protect.js'
import {
  NO_DESCRIPTORS,
  pinningName,
  surveyDescriptors,
  type OpenDescriptors,
} from '../kernel/descriptors.js'
import { probeKernel } from '../kernel/features.js'
import { markOf } from '../kernel/interval-mark.js'
import type { TargetIdentity } from '../kernel/target.js'
import { contentTracker } from '../track/content.js'
import { softDirtyTracker } from '../track/soft-dirty.js'
import { TRACKER_NAMES, type PinnedRange, type Tracker, type TrackerName } from '../track/tracker.js'
import { uffdWpTracker } from '../track/uffd-wp.js'
import { readVmas } from './address-space.js'
import type { CanaryPage } from './canary.js'
import { readRecord, type IntervalRecord } from './interval-record.js'
import type { DumpSettings } from './options.js'
import { foreignProcess, openParent, resolveParent, youngerThanInventory, type Parent } from './parent.js'

/** What a dump knows of the past when it begins. */
export interface Tracking {
  /** Undefined for a dump that neither has a parent nor is to be one. */
  readonly tracker: Tracker | undefined
  /** Why it is that tracker. */
  readonly why: string
  /** The parent whose pages may be left out; undefined for a full dump. */
  readonly parent: Parent | undefined
  /** The snapshot that began the interval which ran when the parent was judged, by the record; empty where there was none. */
  readonly intervalId: string
  /** Mark that must be found in the process for that; undefined where it has none. */
  readonly mark: string | undefined
  /** Pattern that must be found dirty for that; undefined where the parent needs no proof (content), or is trusted. */
  readonly canary: readonly CanaryPage[] | undefined
  /** Why the dump is full though a parent was given; empty where it is not. */
  readonly fullBecause: string
  /** Whether the tracker was chosen by us, so that another may take its place. */
  readonly isAuto: boolean
  /** The process's descriptors when it was chosen. */
  readonly descriptors: OpenDescriptors
  /** What was pinned when the interval that runs began. */
  readonly pinnedBefore: readonly PinnedRange[]
}

/** Of a capture that neither has a parent nor is to be one. */
export const UNTRACKED: Tracking = {
  tracker: undefined,
  why: '',
  parent: undefined,
  intervalId: '',
  mark: undefined,
  canary: undefined,
  fullBecause: '',
  isAuto: false,
  descriptors: NO_DESCRIPTORS,
  pinnedBefore: [],
}

/** A choice of tracker, with its reason. */
interface Choice {
  readonly name: TrackerName
  readonly why: string
}

/**
 * Chooses the tracker and judges the parent. The caller closes both, see {@link closeTracking}.
 *
 * @param imagesDir - without links
 * @param avoided - why `auto` must not take a tracker that needs the kernel's help; empty for no reason
 * @throws BROKEN_CHAIN where the dump would be full and that is to be an error; TRACKER_UNAVAILABLE, BAD_OPTION
 */
export function planTracking(
  settings: DumpSettings,
  target: TargetIdentity,
  imagesDir: string,
  avoided: string,
): Tracking {
  const { prevImagesDir } = settings
  if (prevImagesDir === undefined && !settings.trackMem) return UNTRACKED
  const opened =
    prevImagesDir === undefined
      ? undefined
      : openParent(imagesDir, resolveParent(imagesDir, prevImagesDir), target)
  const record = readRecord(target)
  const parent = typeof opened === 'string' ? undefined : opened
  const descriptors = surveyDescriptors(target.tid)
  try {
    const before = parent?.chain.links[0]?.manifest?.tracker ?? ''
    const { name, why } = chooseTracker(
      settings,
      target,
      before,
      avoided || pinningObstacle(descriptors, readVmas(target.tid)),
    )
    const fullBecause =
      typeof opened === 'string'
        ? opened
        : parent === undefined
          ? ''
          : objection(settings, target, parent, name, record)
    if (fullBecause !== '' && settings.onBrokenChain === 'fail') throw brokenChain(target.pid, fullBecause)
    if (fullBecause !== '') parent?.chain.close()
    const sound = fullBecause === '' ? parent : undefined
    const proven = sound?.chain.links[0]?.manifest === undefined || name === 'content'
    return {
      tracker: openTracker(name, target, record),
      why,
      parent: sound,
      intervalId: record?.snapshotId ?? '',
      mark: record?.marked === true && name !== 'content' ? markOf(record.snapshotId) : undefined,
      canary: proven ? undefined : record?.canary,
      fullBecause,
      isAuto: settings.tracker === 'auto',
      descriptors,
      pinnedBefore: record?.state.pinned ?? [],
    }
  } catch (error) {
    parent?.chain.close()
    throw error
  }
}

/** Whether pages are to be compared with the parent's, after the thaw. */
export function comparesPages({ tracker, parent }: Tracking): boolean {
  return tracker?.name === 'content' && parent !== undefined
}

/** Closes what {@link planTracking} opened. */
export function closeTracking({ tracker, parent }: Tracking): void {
  tracker?.close()
  parent?.chain.close()
}

/** The error for a dump that must not be full. */
export function brokenChain(pid: number, reason: string): TidemarkError {
  return new TidemarkError(
    'BROKEN_CHAIN',
    `the dump of process ${String(pid)} would have to be full: ${reason} (--on-broken-chain fail); nothing was saved`,
    { pid },
  )
}

/** Why pages of `parent` must not be left out; empty where they may. */
function objection(
  settings: DumpSettings,
  target: TargetIdentity,
  parent: Parent,
  tracker: TrackerName,
  record: IntervalRecord | undefined,
): string {
  const manifest = parent.chain.links[0]?.manifest
  if (manifest === undefined) {
    if (record !== undefined && tracker !== 'content')
      return 'the parent was written by CRIU, and Tidemark has reset the dirty bits of this process too (tidemark untrack)'
    return foreignObjection(settings, target, parent, tracker)
  }
  const foreign = foreignProcess(parent, target)
  if (foreign !== undefined) return foreign
  if (tracker === 'content') return ''
  if (manifest.tracker !== tracker) {
    return manifest.tracker === ''
      ? 'the parent was taken without tracking (--track-mem)'
      : `the parent was tracked by ${manifest.tracker}, not by ${tracker}`
  }
  if (record === undefined) return 'there is no record of the last dump of this process'
  if (record.tracker !== tracker) return `the last dump tracked by ${record.tracker}, not by ${tracker}`
  if (record.snapshotId === manifest.snapshotId) return ''
  return 'the parent is not the last snapshot that was taken of this process, or a later one failed after it had reset the dirty bits'
}

/** The same for a parent that CRIU wrote: only its word can be taken. */
function foreignObjection(
  settings: DumpSettings,
  target: TargetIdentity,
  parent: Parent,
  tracker: TrackerName,
): string {
  if (!settings.trustParent)
    return 'the parent was written by CRIU, and nobody can prove that the dirty bits were not reset since (--trust-parent)'
  if (tracker === 'uffd-wp') return 'the parent was written by CRIU, which tracks by soft-dirty'
  return youngerThanInventory(parent, target) ?? ''
}

function chooseTracker(
  settings: DumpSettings,
  target: TargetIdentity,
  before: string,
  avoided: string,
): Choice {
  const { tracker } = settings
  if (tracker !== 'auto') {
    if (works(tracker)) return { name: tracker, why: 'as asked for' }
    throw new TidemarkError(
      'TRACKER_UNAVAILABLE',
      `--tracker ${tracker} does not work on this kernel (tidemark check tells why); choose another, or auto`,
      { pid: target.pid },
    )
  }
  if (avoided !== '') return { name: 'content', why: avoided }
  const same = TRACKER_NAMES.find((name) => name === before && works(name))
  if (same !== undefined) return { name: same, why: 'as the parent' }
  if (works('soft-dirty')) return { name: 'soft-dirty', why: 'the kernel has it' }
  if (works('uffd-wp')) return { name: 'uffd-wp', why: 'the kernel has no soft-dirty bits that work' }
  return { name: 'content', why: 'the kernel has neither soft-dirty nor asynchronous write protection' }
}

/**
 * Whether a tracker works here, as shown by round trips.
 *
 * Soft-dirty also needs to know zero pages: one that takes the place of discarded memory has no bit set, and
 * taken for clean it would bring back the old content. (Where PAGEMAP_SCAN does not tell the huge one, the scan takes
 * every huge page for dirty.)
 */
function works(name: TrackerName): boolean {
  const features = probeKernel()
  switch (name) {
    case 'soft-dirty':
      if (!features.softDirty) return false
      if (features.pagemapScan) return features.softDirtyCategory
      return features.zeroPfn !== undefined && !features.hugeZeroHidden
    case 'uffd-wp':
      return probeAsyncProtect(features)
    case 'content':
      return true
  }
}

/**
 * What speaks against every tracker that needs the kernel's help: memory that something may have pinned. By descriptors
 * and by maps, since a ring that is mapped lives on when it is closed. Empty for nothing.
 */
export function pinningObstacle({ pinning }: OpenDescriptors, vmas: readonly Vma[]): string {
  const names = new Set([...pinning, ...vmas.flatMap(({ path }) => pinningName(path) ?? [])])
  return names.size === 0 ? '' : `${[...names].join(', ')} may write to memory that no tracker watches`
}

function openTracker(name: TrackerName, target: TargetIdentity, record: IntervalRecord | undefined): Tracker {
  switch (name) {
    case 'soft-dirty':
      return softDirtyTracker(target.tid)
    case 'uffd-wp':
      return uffdWpTracker(target, record?.state ?? {})
    case 'content':
      return contentTracker
  }
}
