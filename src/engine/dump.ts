/**
 * The dump of one process, in numbered steps: the story that the rest of the project fills in.
 *
 *   prepare ─▶ freeze ─▶ list VMAs, scan, plan, capture ─▶ thaw ─▶ write ─▶ publish
 *              └────────── the target stands still ──────────┘
 */
import { randomUUID } from 'node:crypto'
import { setTimeout as turn } from 'node:timers/promises'
import { missingRanges } from '../core/fate.js'
import { codeOf, messageOf, TidemarkError } from '../errors.js'
import type { ImagesDirectory } from '../image/images-dir.js'
import { freezerStateFile } from '../kernel/cgroups.js'
import { monotonicMicros } from '../kernel/clock.js'
import { probeKernel } from '../kernel/features.js'
import { unmapStaging } from '../kernel/staging.js'
import { examineTarget, type TargetIdentity } from '../kernel/target.js'
import { Crew } from './crew.js'
import { withFrozenTarget, type Frozen } from './freeze-target.js'
import { Freezer } from './freezer.js'
import { captureFrozen, refuseMissing, type WindowInput } from './frozen-window.js'
import { prepareRecords } from './interval-record.js'
import { PAGES_NAME, readTargetFacts, uptimeMicros } from './images.js'
import { settle, throwIfAborted, type DumpOptions, type DumpSettings } from './options.js'
import {
  BATCH_PAGES,
  checkProcesses,
  checkSpace,
  collectGarbage,
  mapStagingArea,
  openImagesDirectory,
  populateStaging,
  rehearse,
  type StagingArea,
} from './prepare.js'
import type { DumpResult } from './result.js'
import { save } from './save.js'
import { surveyTarget, type Survey } from './survey.js'
import type { Taken } from './taken.js'
import { closeTracking, planTracking, type Tracking } from './tracking.js'
import { listChildren } from './warnings.js'

/**
 * Dumps the memory of a running process into an images directory.
 *
 * The process stands still while its memory is copied, then runs on; the event loop of the caller stands
 * still for just as long. Either the whole snapshot appears in the directory or nothing does.
 *
 * @throws TidemarkError with one of the codes of the README's table
 */
export async function dump(options: DumpOptions): Promise<DumpResult> {
  return await snapshot(settle(options, 'dump'))
}

/**
 * The same for a process that stands only while its dirty bits are read and reset: its memory is copied while it runs
 * on, and is consistent only together with a later dump whose parent this is.
 */
export async function preDump(options: DumpOptions): Promise<DumpResult> {
  return await snapshot(settle(options, 'pre-dump'))
}

/** Takes the snapshot; where `auto` chose a tracker that the process turns out not to allow, once more without it. */
async function snapshot(settings: DumpSettings): Promise<DumpResult> {
  const begunUs = monotonicMicros()
  // 1. Options, target and directory are checked before anything is started.
  throwIfAborted(settings.signal)
  probeKernel()
  const target = examineTarget(settings.pid)
  try {
    return await snapshotOnce(settings, target, '', begunUs)
  } catch (error) {
    const refused = codeOf(error) === 'INJECTION_REFUSED' || codeOf(error) === 'TRACKER_UNAVAILABLE'
    if (!refused || settings.tracker !== 'auto') throw error
    return await snapshotOnce(settings, target, messageOf(error), begunUs)
  }
}

/** @param avoided - why `auto` must not take a tracker that needs the kernel's help; empty for no reason */
async function snapshotOnce(
  settings: DumpSettings,
  target: TargetIdentity,
  avoided: string,
  begunUs: number,
): Promise<DumpResult> {
  const images = openImagesDirectory(settings.imagesDir)
  try {
    const tracking = planTracking(settings, target, images.path, avoided)
    try {
      if (tracking.tracker?.hasIntervals === true) prepareRecords()
      return await dumpInto(images, settings, target, tracking, begunUs)
    } finally {
      closeTracking(tracking)
    }
  } catch (error) {
    images.discard()
    throw error
  }
}

/** The dump with its threads and its memory, which are given back however it ends. */
async function dumpInto(
  images: ImagesDirectory,
  settings: DumpSettings,
  target: TargetIdentity,
  tracking: Tracking,
  begunUs: number,
): Promise<DumpResult> {
  settings.onProgress({ step: 'prepare', doneBytes: 0, totalBytes: 0 })
  const { crew, freezer } = await startThreads(settings.workers)
  let area: StagingArea | undefined
  try {
    // 2. A rehearsal on the running target, and memory for what it found.
    const survey = surveyTarget(target, probeKernel(), tracking, crew, within(settings.maxFrozenMs))
    checkSpace(images, survey)
    if (settings.requireComplete) refuseMissing(missingRanges(survey.space.vmas), target.pid)
    area = mapStagingArea(settings.maxMemory, survey, crew.size)
    await populateStaging(area, settings.signal, crew)
    const window = prepareWindow(images, settings, target, { crew, survey, area, tracking })
    const children = listChildren(target.pid)
    const freezerState = freezerStateFile(target.pid)
    rehearse({ ...window, expired: within(settings.maxFrozenMs) })
    collectGarbage()
    // A signal that came meanwhile is heard now, not after the freeze.
    await turn(0)
    throwIfAborted(settings.signal)
    // 3. The target stands still: its memory is taken, and it goes on.
    return await withFrozenTarget(settings, freezer, freezerState, async (frozen) => {
      const taken = { ...takeMemory(settings, window, frozen), children, begunUs }
      // 4. What was taken is written and published.
      const result = await save(images, settings, window, taken)
      // 5. One that is to be left stopped was held until there was something to show for it.
      if (settings.leaveStopped) frozen.freezer.thaw(settings.maxFrozenMs)
      return result
    })
  } finally {
    await freezer.close()
    await crew.close()
    if (area !== undefined) unmapStaging(area.staging)
  }
}

interface Threads {
  readonly crew: Crew
  readonly freezer: Freezer
}

/** Starts all threads at once; none is left where one fails. */
async function startThreads(workers: number): Promise<Threads> {
  const [crew, freezer] = await Promise.allSettled([Crew.start(workers), Freezer.start()])
  if (crew.status === 'fulfilled' && freezer.status === 'fulfilled')
    return { crew: crew.value, freezer: freezer.value }
  if (crew.status === 'fulfilled') await crew.value.close()
  if (freezer.status === 'fulfilled') await freezer.value.close()
  throw crew.status === 'rejected' ? crew.reason : freezer.status === 'rejected' ? freezer.reason : undefined
}

interface Made {
  readonly crew: Crew
  readonly survey: Survey
  readonly area: StagingArea
  readonly tracking: Tracking
}

/** A question whose answer turns true after `milliseconds`. */
function within(milliseconds: number): () => boolean {
  const end = performance.now() + milliseconds
  return () => performance.now() > end
}

/** All that the frozen window needs. */
function prepareWindow(
  images: ImagesDirectory,
  { shardPages, requireComplete, mode, onBrokenChain }: DumpSettings,
  target: TargetIdentity,
  { crew, survey, area, tracking }: Made,
): WindowInput {
  return {
    target,
    features: probeKernel(),
    crew,
    survey,
    processes: checkProcesses(target),
    shardPages,
    requireComplete,
    mode,
    onBrokenChain,
    tracking,
    snapshotId: randomUUID(),
    batchPages: BATCH_PAGES,
    stagingAddress: area.staging.address,
    stagingBytes: area.stagingBytes,
    pagesFd: images.createFile(PAGES_NAME),
    expired: () => false,
    openUserfaultfd: () => {
      throw new TidemarkError('INTERNAL', 'nothing is injected before the freeze')
    },
  }
}

/** Called with the target frozen; returns with the target let go, or kept where it is to be left stopped. */
function takeMemory(
  settings: DumpSettings,
  window: WindowInput,
  { freezer, held }: Frozen,
): Omit<Taken, 'children' | 'begunUs'> {
  const captured = captureFrozen({
    ...window,
    expired: () => !freezer.holds,
    openUserfaultfd: () => freezer.openUserfaultfd(),
  })
  const capturedUs = monotonicMicros()
  const facts = readTargetFacts(window.target, held.threads, uptimeMicros())
  if (settings.leaveStopped) freezer.keep(settings.maxFrozenMs)
  const releasedUs = settings.leaveStopped ? monotonicMicros() : freezer.thaw(settings.maxFrozenMs)
  return { captured, facts, held, releasedUs, thawUs: releasedUs - capturedUs }
}
