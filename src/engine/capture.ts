/**
 * Taking the memory of one process, in numbered steps: the story that the rest of the project fills in.
 *
 *   prepare ─▶ freeze ─▶ list VMAs, scan, plan, capture, reset ─▶ thaw ─▶ save
 *              └────────────── the target stands still ─────────────┘
 */
import { randomUUID } from 'node:crypto'
import { setTimeout as turn } from 'node:timers/promises'
import { missingRanges } from '../core/fate.js'
import { TidemarkError } from '../errors.js'
import { freezerStateFile } from '../kernel/cgroups.js'
import { monotonicMicros } from '../kernel/clock.js'
import { probeKernel } from '../kernel/features.js'
import { unmapStaging } from '../kernel/staging.js'
import type { TargetIdentity } from '../kernel/target.js'
import { Crew } from './crew.js'
import { withFrozenTarget, type Frozen } from './freeze-target.js'
import { Freezer } from './freezer.js'
import { captureFrozen, refuseMissing, type WindowInput } from './frozen-window.js'
import { readTargetFacts, uptimeMicros } from './images.js'
import { throwIfAborted, type DumpSettings } from './options.js'
import {
  BATCH_PAGES,
  checkProcesses,
  collectGarbage,
  mapStagingArea,
  populateStaging,
  rehearse,
  type StagingArea,
} from './prepare.js'
import { surveyTarget, type Survey } from './survey.js'
import type { Taken } from './taken.js'
import type { Tracking } from './tracking.js'
import { listChildren } from './warnings.js'

/** What becomes of the memory that is taken. */
export interface Sink<T> {
  /**
   * Called before the freeze, when it is known about how much there will be. Throws where there is no room for it.
   *
   * @returns the descriptor of the pages file
   */
  readonly open: (survey: Survey) => number
  /** Called after the thaw. */
  readonly save: (window: WindowInput, taken: Taken) => Promise<T>
}

/** Takes the target's memory, with threads and memory that are given back however it ends. */
export async function captureTarget<T>(
  settings: DumpSettings,
  target: TargetIdentity,
  tracking: Tracking,
  begunUs: number,
  sink: Sink<T>,
): Promise<T> {
  settings.onProgress({ step: 'prepare', doneBytes: 0, totalBytes: 0 })
  const { crew, freezer } = await startThreads(settings.workers)
  settings.onStep('threads started')
  let area: StagingArea | undefined
  try {
    // 1. A rehearsal on the running target, and memory for what it found.
    const survey = surveyTarget(target, probeKernel(), tracking, crew, within(settings.maxFrozenMs))
    const pagesFd = sink.open(survey)
    settings.onStep('surveyed')
    if (settings.requireComplete) refuseMissing(missingRanges(survey.space.vmas), target.pid)
    area = mapStagingArea(settings.maxMemory, survey, crew.size)
    await populateStaging(area, settings.signal, crew)
    settings.onStep('staging ready')
    const window = prepareWindow(settings, target, { crew, survey, area, tracking, pagesFd })
    const children = listChildren(target.pid)
    const freezerState = freezerStateFile(target.pid)
    rehearse({ ...window, expired: within(settings.maxFrozenMs) })
    collectGarbage()
    // A signal that came meanwhile is heard now, not after the freeze.
    await turn(0)
    throwIfAborted(settings.signal)
    // 2. The target stands still: its memory is taken, and it goes on.
    return await withFrozenTarget(settings, freezer, freezerState, async (frozen) => {
      settings.onStep('held')
      const taken = { ...takeMemory(settings, window, frozen), children, begunUs }
      settings.onStep('thawed')
      // 3. What was taken is written and published.
      const result = await sink.save(window, taken)
      // 4. One that is to be left stopped was held until there was something to show for it.
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
  readonly pagesFd: number
}

/** A question whose answer turns true after `milliseconds`. */
function within(milliseconds: number): () => boolean {
  const end = performance.now() + milliseconds
  return () => performance.now() > end
}

/** All that the frozen window needs. */
function prepareWindow(
  { shardPages, requireComplete, mode, onBrokenChain, onStep }: DumpSettings,
  target: TargetIdentity,
  { crew, survey, area, tracking, pagesFd }: Made,
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
    onStep,
    tracking,
    snapshotId: randomUUID(),
    batchPages: BATCH_PAGES,
    stagingAddress: area.staging.address,
    stagingBytes: area.stagingBytes,
    pagesFd,
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
