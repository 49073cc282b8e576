/**
 * What happens while the target stands still, and nothing else: list VMAs, scan, plan, capture.
 *
 * Architecture Invariant: no event loop turns here, nothing is logged, no file of the target's or of the
 * user's is opened: the reader of our output, our terminal or our disk may be the very process that stands.
 * (What exceeds the staging memory is written to the pages file, which was opened before.)
 */
import type { ChunkDirectory } from '../core/chunks.js'
import { missingRanges, type MissingRange } from '../core/fate.js'
import { countPages, pagesWithin, type PageRuns } from '../core/page-runs.js'
import { splitPlan, wholePlan, type PlanPart } from '../core/plan-parts.js'
import { planDump, planPages, storedRuns, type DumpPlan } from '../core/plan.js'
import { codeOf, messageOf, TidemarkError } from '../errors.js'
import { monotonicMicros } from '../kernel/clock.js'
import type { KernelFeatures } from '../kernel/features.js'
import { stubPlaces, type StubPlaces } from '../kernel/call-stub.js'
import type { MadeFork } from '../kernel/fork.js'
import { newProcesses, refuseSharedMemory } from '../kernel/mm-sharing.js'
import { pageSize } from '../kernel/page-size.js'
import { readStat, readStatus, targetDied, type ProcessStat, type ProcessStatus } from '../kernel/procfs.js'
import { confirmIdentity, type TargetIdentity } from '../kernel/target.js'
import type { JobReport } from '../tasks/jobs.js'
import { rereadAddressSpace, type AddressSpace } from './address-space.js'
import { beginTracking } from './begin-tracking.js'
import { unforkedRanges, type CaptureChoice } from './capture-choice.js'
import type { Crew } from './crew.js'
import { beginInterval, findHolesIn } from './interval.js'
import type { DumpMode, DumpStep, OnBrokenChain } from './options.js'
import { sumOf, type WindowSteps } from './result.js'
import { scanTarget } from './scan-target.js'
import type { Survey } from './survey.js'
import { brokenChain, type Tracking } from './tracking.js'

/** What the window needs, all made before the freeze. */
export interface WindowInput {
  readonly target: TargetIdentity
  readonly features: KernelFeatures
  readonly crew: Crew
  readonly survey: Survey
  /** Processes that were there, and did not share the target's memory, before the freeze. */
  readonly processes: ReadonlySet<number>
  readonly shardPages: number | undefined
  readonly requireComplete: boolean
  readonly mode: DumpMode
  readonly capture: CaptureChoice
  readonly onBrokenChain: OnBrokenChain
  readonly onStep: (step: DumpStep) => void
  readonly tracking: Tracking
  readonly snapshotId: string
  readonly batchPages: number
  readonly stagingAddress: number
  /** Bytes of staging memory, a multiple of a batch; the streaming buffers lie behind them. */
  readonly stagingBytes: number
  readonly pagesFd: number
  /** Whether the freezer has let the target go. */
  readonly expired: () => boolean
  /** Does `work` while the freezer cannot let go by itself; false, with nothing done, where it has. */
  readonly steadily: (work: () => void) => boolean
  /** Opens a userfaultfd inside the standing target. */
  readonly openUserfaultfd: () => number
  /** Makes the standing target ready to be forked. */
  readonly prepareFork: (places: StubPlaces) => void
  /** Forks it. */
  readonly fork: () => MadeFork
  /** Ends the fork, which has been read. */
  readonly dropFork: () => void
}

/** The target's memory, taken. */
export interface Captured {
  readonly space: AddressSpace
  readonly plan: DumpPlan
  /** Pages that the process holds and a snapshot must have. */
  readonly pagesScanned: number
  readonly cleanNotInParent: number
  /** What tracking leaves in the target, where it has just begun; else empty. */
  readonly notice: string
  /** Why the dump is full though a parent was given; empty where it is not. */
  readonly fullBecause: string
  /** What was copied while the target stood: all, or what its fork does not hold. (By a pre-dump: what is to be copied.) */
  readonly part: PlanPart
  /** Pages of that part that lie in staging memory; the others are in the pages file already. */
  readonly stagedPages: number
  /** What is to be read from the fork; undefined where there is none. */
  readonly fork: ForkedPart | undefined
  readonly scanReports: readonly JobReport[]
  readonly copyReports: readonly JobReport[]
  readonly missing: readonly MissingRange[]
  readonly stat: ProcessStat
  readonly status: ProcessStatus
  readonly steps: WindowSteps
}

/** The same before anybody has worked out what it lacks, for which the target need not stand. */
export type TakenMemory = Omit<Captured, 'missing'>

/** A fork, and what of the plan it holds. */
export interface ForkedPart {
  readonly pid: number
  readonly part: PlanPart
  readonly chunks: ChunkDirectory
}

/** Takes the memory of a target that stands still. */
export function captureFrozen(input: WindowInput): TakenMemory {
  const lap = stopwatch()
  const { target, tracking } = input
  const { stat, status } = checkTarget(target, input.processes)
  const checksUs = lap()
  const space = rereadAddressSpace(target, input.features, input.survey.space)
  const mapsUs = lap()
  // Before the first look: what it does to the target must be in the snapshot, or be seen by the next.
  const pinned = beginTracking(input, space.vmas)
  const prepareUs = lap()
  input.onStep('tracking begun')
  const isForked = input.capture.method === 'fork'
  if (isForked)
    forkingFails(input, () => {
      input.prepareFork(stubPlaces(space.vmas))
    })
  const prepareForkUs = lap()
  const scanned = scanTarget({
    target,
    features: input.features,
    dirtyBit: tracking.tracker?.dirtyBit ?? 'all',
    segments: space.segments,
    chunks: input.survey.chunks,
    weights: input.survey.weights,
    shardPages: input.shardPages,
    workers: input.crew.size,
    frozen: true,
    run: (job) => input.crew.runBlocking(job, input.expired),
  })
  if (scanned.unsteady) throw changedWhileFrozen(target.pid)
  const scanUs = lap()
  input.onStep('scanned')
  const holes = findHolesIn(tracking, scanned, space.vmas, target, pinned, input.survey.listed)
  if (holes.fullBecause !== '' && input.onBrokenChain === 'fail')
    throw brokenChain(target.pid, holes.fullBecause)
  const plan = planDump(scanned.chunks, scanned.present, holes.bits)
  const reports = scanned.reports
  if (input.requireComplete) refuseMissing(findMissing(input.features, space.vmas, plan, reports), target.pid)
  const planUs = lap()
  // Before the memory is taken: what others write to it from now on, though it stands, is dirty for the next dump.
  if (tracking.tracker !== undefined)
    beginInterval({ ...input, pinned, tracker: tracking.tracker }, scanned, space.vmas)
  const resetUs = lap()
  const fork = isForked ? forkingFails(input, input.fork) : undefined
  const forkUs = prepareForkUs + lap()
  input.onStep('forked')
  const { part, forked } = divide(plan, fork, space, scanned.chunks)
  const stagedPages = Math.min(planPages(part.plan), Math.floor(input.stagingBytes / pageSize()))
  // A pre-dump copies from the running process, after the thaw.
  const copyReports = input.mode === 'pre-dump' ? [] : copyAll(input, part, stagedPages)
  const captureUs = lap()
  input.onStep('captured')
  return {
    ...{ space, plan, part, fork: forked, stagedPages, copyReports, stat, status },
    pagesScanned: planPages(plan) + countPages(plan.holes),
    cleanNotInParent: holes.cleanNotInParent,
    fullBecause: holes.fullBecause,
    notice: tracking.tracker?.notice() ?? '',
    scanReports: reports,
    steps: { checksUs, mapsUs, prepareUs, scanUs, planUs, resetUs, forkUs, captureUs },
  }
}

function forkingFails<T>(input: WindowInput, work: () => T): T {
  try {
    return work()
  } catch (error) {
    if (['FROZEN_TOO_LONG', 'TARGET_DIED', 'WORKER_FAILED'].includes(codeOf(error) ?? '')) throw error
    throw new TidemarkError('FORK_FAILED', messageOf(error), { pid: input.target.pid }, error)
  }
}

/** What is copied now, and what is read from the fork. */
function divide(
  plan: DumpPlan,
  fork: MadeFork | undefined,
  space: AddressSpace,
  chunks: ChunkDirectory,
): { readonly part: PlanPart; readonly forked: ForkedPart | undefined } {
  if (fork === undefined) return { part: wholePlan(plan), forked: undefined }
  const { inside, outside } = splitPlan(plan, unforkedRanges(space.vmas, fork.spoiled))
  return { part: inside, forked: { pid: fork.pid, part: outside, chunks } }
}

function copyAll(input: WindowInput, part: PlanPart, stagedPages: number): JobReport[] {
  const pages = planPages(part.plan)
  const reports = copyPlanned(input, part, pages, stagedPages)
  if (sumOf(reports, 'pages') === pages) return reports
  throw new TidemarkError('INTERNAL', 'not every planned page was copied')
}

/** Has the crew copy the first `pages` pages of a part, the first `stagedPages` of them to staging memory. */
export function copyPlanned(
  input: WindowInput,
  { plan, places }: PlanPart,
  pages: number,
  stagedPages: number,
): JobReport[] {
  const { target, crew, batchPages, stagingAddress, stagingBytes, pagesFd } = input
  const { pid, tid } = target
  const streamAddress = stagingAddress + stagingBytes
  return crew.runBlocking(
    {
      ...{ kind: 'copy', pid, tid, plan, places, pages, batchPages },
      ...{ stagingAddress, stagedPages, streamAddress, pagesFd, gone: undefined },
    },
    input.expired,
  )
}

/** Whether the target is still what it was and nobody else writes to its memory; its facts of now. */
function checkTarget(
  target: TargetIdentity,
  processes: ReadonlySet<number>,
): { readonly stat: ProcessStat; readonly status: ProcessStatus } {
  confirmIdentity(target)
  refuseSharedMemory(target.pid, target.tid, newProcesses(processes))
  const stat = readStat(target.pid)
  const status = readStatus(target.pid, target.tid)
  if (stat === undefined || status === undefined) throw targetDied(target.pid)
  return { stat, status }
}

function changedWhileFrozen(pid: number): TidemarkError {
  return new TidemarkError(
    'TARGET_CHANGED',
    `memory of process ${String(pid)} appeared while it stood still: another process writes to it; nothing was saved`,
    { pid },
  )
}

/** What a snapshot by `plan` lacks. */
export function findMissing(
  features: KernelFeatures,
  vmas: AddressSpace['vmas'],
  plan: DumpPlan,
  reports: readonly JobReport[],
): MissingRange[] {
  return [...lostRanges(vmas, plan), ...unreadableRanges(features, reports)]
}

/** What of `vmas` is neither in the plan nor in a file. */
export function lostRanges(vmas: AddressSpace['vmas'], plan: DumpPlan): MissingRange[] {
  let stored: PageRuns | undefined
  return missingRanges(vmas, (start, end) => {
    // Only where it is asked for: there may be a million runs, and the target stands.
    stored ??= storedRuns(plan)
    return pagesWithin(stored, start, end) + pagesWithin(plan.holes, start, end)
  })
}

/**
 * Pages that look swapped out and cannot be read: damaged memory, a failing swap device. Where the kernel does
 * not tell guard pages apart they are those, and nothing is missing.
 */
function unreadableRanges(features: KernelFeatures, reports: readonly JobReport[]): MissingRange[] {
  if (!features.guardCategory) return []
  return reports.flatMap((report) =>
    report.unreadable.map(
      (startPage) =>
        ({ reason: 'unreadable', startPage, endPage: startPage + 1, pages: 1, path: '' }) as const,
    ),
  )
}

/** Throws `INCOMPLETE` for the first of `missing`, if there is one. */
export function refuseMissing(missing: readonly MissingRange[], pid: number): void {
  const first = missing[0]
  if (first === undefined) return
  const others = missing.length === 1 ? '' : ` and ${String(missing.length - 1)} more`
  throw new TidemarkError(
    'INCOMPLETE',
    `process ${String(pid)} has memory that cannot be stored yet (${first.reason}: ${first.path || 'unnamed'}${others}); ` +
      'nothing was saved (--require-complete)',
    { pid },
  )
}

/** Microseconds since the last call, or since it was made. */
function stopwatch(): () => number {
  let last = monotonicMicros()
  return () => {
    const now = monotonicMicros()
    const elapsed = now - last
    last = now
    return elapsed
  }
}
