/**
 * Taking the memory of one process, in numbered steps: the story that the rest of the project fills in.
 *
 *   prepare ─▶ freeze ─▶ list VMAs, scan, plan, capture, reset ─▶ thaw ─▶ save
 *              └────────────── the target stands still ─────────────┘
 */
import { randomUUID } from 'node:crypto'
import { setTimeout as turn } from 'node:timers/promises'
import { splitPlan } from '../core/plan-parts.js'
import { planPages } from '../core/plan.js'
import { codeOf, TidemarkError } from '../errors.js'
import { freezerStateFile } from '../kernel/cgroups.js'
import { monotonicMicros } from '../kernel/clock.js'
import { probeKernel } from '../kernel/features.js'
import { pageSize } from '../kernel/page-size.js'
import { unmapStaging } from '../kernel/staging.js'
import type { TargetIdentity } from '../kernel/target.js'
import { closeLeft, giveUpTracking } from './begin-tracking.js'
import { chooseCapture, unforkedRanges, type CaptureChoice } from './capture-choice.js'
import { Crew } from './crew.js'
import { withFrozenTarget, type Frozen } from './freeze-target.js'
import { Freezer } from './freezer.js'
import {
  captureFrozen,
  findMissing,
  lostRanges,
  refuseMissing,
  type TakenMemory,
  type WindowInput,
} from './frozen-window.js'
import { readTargetFacts, uptimeMicros } from './images.js'
import { forgetFork, leftChildren, noteFork } from './left-forks.js'
import { throwIfAborted, type DumpSettings } from './options.js'
import {
  awaitAlone,
  collectGarbage,
  mapStagingArea,
  populateStaging,
  rehearse,
  type StagingArea,
} from './prepare.js'
import { surveyTarget, type Survey } from './survey.js'
import type { Taken } from './taken.js'
import { excessWarning, withRemedy } from './too-long.js'
import { comparesPages, type Tracking } from './tracking.js'
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
  const { crew, freezer } = await startThreads(settings, tracking)
  const startedUs = monotonicMicros()
  settings.onStep('threads started')
  let area: StagingArea | undefined
  try {
    // 1. A rehearsal on the running target, and memory for what it found.
    const survey = surveyTarget(target, probeKernel(), tracking, crew, within(settings.maxFrozenMs))
    const pagesFd = sink.open(survey)
    settings.onStep('surveyed')
    if (settings.requireComplete) refuseMissing(lostRanges(survey.space.vmas, survey.plan), target.pid)
    const capture = chooseCapture(settings, target, survey, comparesPages(tracking))
    const pages = stagedPages(survey, capture)
    area = mapStagingArea(settings, pages, crew.size)
    const size = { method: capture.method, pages, stagingBytes: area.stagingBytes }
    const warning = excessWarning(settings, size)
    if (warning !== '') settings.onWarning(warning)
    await populateStaging(area, settings.signal, crew)
    settings.onStep('staging ready')
    const deadline = performance.now() + settings.timeoutMs
    const processes = await awaitAlone(target, deadline, settings.signal)
    const made = { crew, survey, area, tracking, pagesFd, capture, processes }
    const window = prepareWindow(settings, target, made)
    const children = listChildren(target.pid)
    const freezerState = freezerStateFile(target.pid)
    const left = leftChildren(target)
    if (capture.method === 'fork') noteFork(target)
    rehearse({ ...window, expired: within(settings.maxFrozenMs) })
    collectGarbage()
    // A signal that came meanwhile is heard now, not after the freeze.
    await turn(0)
    throwIfAborted(settings.signal)
    // 2. The target stands still: its memory is taken, and it goes on.
    const timeoutMs = Math.max(1, deadline - performance.now())
    return await withFrozenTarget({ ...settings, timeoutMs }, freezer, freezerState, async (frozen) => {
      settings.onStep('held')
      reap(frozen, left)
      closeLeft(target, closerOf(frozen))
      const taken = { ...takeMemory(settings, window, frozen), children, begunUs, startedUs }
      settings.onStep('thawed')
      if (capture.method === 'fork' || left.length > 0) forgetFork(target)
      // 3. What was taken is written and published; first of all what a fork holds.
      const dropFork = (): void => {
        frozen.freezer.dropFork()
      }
      const result = await sink.save({ ...window, dropFork }, taken)
      // 4. One that is to be left stopped was held until there was something to show for it.
      if (settings.leaveStopped) frozen.freezer.thaw(settings.maxFrozenMs)
      return result
    }).catch((error: unknown) => {
      throw withRemedy(error, settings, size)
    })
  } finally {
    await freezer.close()
    const ended = await crew.close()
    if (area !== undefined && ended) unmapStaging(area.staging)
  }
}

interface Threads {
  readonly crew: Crew
  readonly freezer: Freezer
}

/** Starts all threads at once; none is left where one fails. */
async function startThreads(
  { workers, capture, mode }: DumpSettings,
  { tracker }: Tracking,
): Promise<Threads> {
  const practises = (mode === 'dump' && capture !== 'copy') || tracker?.name === 'uffd-wp'
  const [crew, freezer] = await Promise.allSettled([Crew.start(workers), Freezer.start(practises)])
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
  readonly capture: CaptureChoice
  readonly processes: ReadonlySet<number>
}

/** Pages that staging memory is needed for. */
function stagedPages({ plan, space }: Survey, { method }: CaptureChoice): number {
  if (method === 'copy') return planPages(plan)
  return planPages(splitPlan(plan, unforkedRanges(space.vmas, [])).inside.plan)
}

/** Has the standing target wait for what a killed run left in it; where that cannot be done, the next run will. */
function reap({ freezer }: Frozen, left: readonly number[]): void {
  if (left.length === 0) return
  try {
    freezer.reapChildren(left)
  } catch (error) {
    if (codeOf(error) !== 'INJECTION_REFUSED') throw error
  }
}

/** A question whose answer turns true after `milliseconds`. */
function within(milliseconds: number): () => boolean {
  const end = performance.now() + milliseconds
  return () => performance.now() > end
}

/** All that the frozen window needs. */
function prepareWindow(
  { shardPages, bufferSize, requireComplete, mode, onBrokenChain, onStep }: DumpSettings,
  target: TargetIdentity,
  { crew, survey, area, tracking, pagesFd, capture, processes }: Made,
): WindowInput {
  return {
    target,
    features: probeKernel(),
    crew,
    survey,
    processes,
    shardPages,
    requireComplete,
    mode,
    capture,
    onBrokenChain,
    onStep,
    tracking,
    snapshotId: randomUUID(),
    batchPages: bufferSize / pageSize(),
    stagingAddress: area.staging.address,
    stagingBytes: area.stagingBytes,
    pagesFd,
    expired: () => false,
    steadily: () => false,
    openUserfaultfd: notYet,
    prepareFork: notYet,
    fork: notYet,
    dropFork: () => undefined,
  }
}

function notYet(): never {
  throw new TidemarkError('INTERNAL', 'nothing is injected before the freeze')
}

/** Called with the target frozen; returns with the target let go, or kept where it is to be left stopped. */
function takeMemory(
  settings: DumpSettings,
  window: WindowInput,
  frozen: Frozen,
): Omit<Taken, 'children' | 'begunUs' | 'startedUs'> {
  const { freezer, held } = frozen
  const memory = captureOrGiveUp(window, frozen)
  const capturedUs = monotonicMicros()
  const facts = readTargetFacts(window.target, held.threads, uptimeMicros())
  if (settings.leaveStopped) freezer.keep(settings.maxFrozenMs)
  const releasedUs = settings.leaveStopped ? monotonicMicros() : freezer.thaw(settings.maxFrozenMs)
  const { space, plan, scanReports } = memory
  const captured = { ...memory, missing: findMissing(window.features, space.vmas, plan, scanReports) }
  return { captured, facts, held, releasedUs, thawUs: releasedUs - capturedUs }
}

function captureOrGiveUp(window: WindowInput, frozen: Frozen): TakenMemory {
  const { freezer } = frozen
  try {
    return captureFrozen({
      ...window,
      expired: () => !freezer.holds,
      steadily: (work) => freezer.steadily(work),
      openUserfaultfd: () => freezer.openUserfaultfd(),
      prepareFork: (places) => {
        freezer.prepareFork(places)
      },
      fork: () => freezer.fork(),
    })
  } catch (error) {
    giveUpTracking(window, closerOf(frozen))
    throw error
  }
}

function closerOf({ freezer }: Frozen): (fd: number) => void {
  return (fd) => {
    freezer.closeDescriptor(fd)
  }
}
