/**
 * How memory is captured: copied while the process stands, or read from a fork of it while it runs on.
 *
 *   copy   stands while its pages are copied              costs by what is stored
 *   fork   stands while the kernel copies page tables     costs by what it holds, small pages mostly
 *
 * So a fork wins where much of what the process holds is stored, and always with huge pages.
 */
import { isForked, vmaFate } from '../core/fate.js'
import { RunList, type PageRuns } from '../core/page-runs.js'
import { splitPlan } from '../core/plan-parts.js'
import { planPages } from '../core/plan.js'
import { WATCHED_FLAGS, type Vma } from '../core/vma.js'
import type { AddressRange } from '../kernel/call-stub.js'
import { availableMemory, isFrozenByCgroup, memoryHeadroom } from '../kernel/cgroups.js'
import { pageSize } from '../kernel/page-size.js'
import { readHugeBytes } from '../kernel/procfs.js'
import type { TargetIdentity } from '../kernel/target.js'
import { isToldOfForks } from '../kernel/userfaultfd.js'
import type { CaptureMethod, DumpSettings } from './options.js'
import type { Survey } from './survey.js'

/** The choice, with its reason. */
export interface CaptureChoice {
  readonly method: CaptureMethod
  readonly why: string
}

/** What the cost of both ways depends on, in pages of the system's size. */
export interface CaptureFacts {
  /** Pages that the process holds. */
  readonly held: number
  /** Those of them that are parts of huge pages. */
  readonly huge: number
  readonly vmas: number
  /** Pages to store. */
  readonly stored: number
  /** Those of them that a fork would not hold. */
  readonly unforked: number
  /** Pages that staging memory has room for. */
  readonly staging: number
  readonly workers: number
}

/**
 * Microseconds, as measured with 1 GiB in 100 VMAs and in 10,000 on two cores (docs/benchmarks.md): only their ratio
 * matters, and that differs less between machines than they do.
 */
const COST_US = { copiedPage: 1, streamedPage: 2, forkedPage: 0.068, hugePage: 0.0027, vma: 2.4, fork: 700 }

/** Less is not worth a fork. */
const LEAST_GAIN_US = 3000

/** Of the pages that a process holds, about the part that it may write, and so copy, while its fork lives. */
const COPIED_PART = 0.25

/** How long the process would stand for its memory, in microseconds. */
export function estimateCapture(facts: CaptureFacts): Readonly<Record<CaptureMethod, number>> {
  const { held, huge, vmas, stored, unforked, staging, workers } = facts
  const copying = (pages: number): number =>
    (COST_US.copiedPage * pages +
      (COST_US.streamedPage - COST_US.copiedPage) * Math.max(0, pages - staging)) /
    workers
  const tables = COST_US.forkedPage * (held - huge) + COST_US.hugePage * huge + COST_US.vma * vmas
  return { copy: copying(stored), fork: COST_US.fork + tables + copying(unforked) }
}

/**
 * Ranges of stored memory that a fork does not hold.
 *
 * @param spoiled - in bytes: where it holds something else than the process
 */
export function unforkedRanges(vmas: readonly Vma[], spoiled: readonly AddressRange[]): PageRuns {
  const size = pageSize()
  const ranges = spoiled.map(({ start, end }) => [Math.floor(start / size), Math.ceil(end / size)] as const)
  for (const vma of vmas)
    if (!isForked(vma) && vmaFate(vma).store !== 'none') ranges.push([vma.startPage, vma.endPage])
  const list = new RunList()
  let done = 0
  for (const [start, end] of ranges.sort(([a], [b]) => a - b)) {
    const first = Math.max(done, start)
    if (end > first) list.add(first, end - first)
    done = Math.max(done, end)
  }
  return list.toRuns()
}

/**
 * Chooses. `fork` asked for is taken where it can be.
 *
 * @param compares - pages are to be compared with the parent's
 */
export function chooseCapture(
  settings: DumpSettings,
  target: TargetIdentity,
  survey: Survey,
  compares: boolean,
): CaptureChoice {
  const { capture, leaveStopped, mode } = settings
  if (mode === 'pre-dump') return { method: 'copy', why: 'a pre-dump copies from the running process' }
  if (capture === 'copy') return { method: 'copy', why: settings.captureWhy }
  const facts = gatherFacts(settings, target, survey)
  const obstacle = forkObstacle(target, facts, compares) || ownForkObstacle(target, survey)
  if (obstacle !== '') return { method: 'copy', why: obstacle }
  if (capture === 'fork') return { method: 'fork', why: 'as asked for' }
  if (leaveStopped) return { method: 'copy', why: 'the process is left stopped anyway' }
  const cost = estimateCapture(facts)
  const text = (method: CaptureMethod): string => `${(cost[method] / 1000).toFixed(0)} ms`
  return isWorthIt(cost)
    ? { method: 'fork', why: `estimated ${text('fork')}, copying ${text('copy')}` }
    : { method: 'copy', why: `estimated ${text('copy')}, a fork ${text('fork')}` }
}

/** A fork leaves the process more to do: it has to save a fifth of the time, and some milliseconds. */
export function isWorthIt({ copy, fork }: Readonly<Record<CaptureMethod, number>>): boolean {
  return fork < 0.8 * copy && copy - fork > LEAST_GAIN_US
}

function gatherFacts(
  { maxMemory, workers }: DumpSettings,
  target: TargetIdentity,
  { space, plan, weights }: Survey,
): CaptureFacts {
  const size = pageSize()
  const held = weights.reduce((sum, weight) => sum + weight, 0)
  return {
    held,
    huge: Math.min(held, Math.floor(readHugeBytes(target.tid) / size)),
    vmas: space.vmas.length,
    stored: planPages(plan),
    unforked: planPages(splitPlan(plan, unforkedRanges(space.vmas, [])).inside.plan),
    staging: Math.floor(maxMemory / size),
    workers,
  }
}

/** Why the process must not be forked; empty where it may. */
function forkObstacle(target: TargetIdentity, facts: CaptureFacts, compares: boolean): string {
  if (isFrozenByCgroup(target.pid)) return 'a cgroup holds the process, which therefore cannot fork'
  if (target.nsPid === 1)
    return 'the fork would stay a zombie of the process, which is init of its pid namespace'
  if (compares) return 'all pages are needed in staging memory, to be compared with the parent'
  const needed = facts.held * pageSize() * COPIED_PART
  const room = Math.min(availableMemory(), memoryHeadroom(target.pid))
  if (room < needed)
    return `memory is short: ${mebibytes(room)} left, and while a fork lives the process may need ${mebibytes(needed)} more`
  return ''
}

/** The same for a process whose userfaultfd is told of each fork: the fork would wait for a thread of it, which stands. */
function ownForkObstacle({ tid }: TargetIdentity, { space }: Survey): string {
  const isWatched = space.vmas.some(({ flags }) => WATCHED_FLAGS.some((flag) => flags?.has(flag) === true))
  return isWatched && isToldOfForks(tid) ? 'it has a userfaultfd that is told of each fork' : ''
}

function mebibytes(bytes: number): string {
  return `${String(Math.round(bytes / 2 ** 20))} MiB`
}
