/**
 * Copying from the running process, for a pre-dump: what was planned while it stood, and is still there.
 *
 *   planned       |a b c d e f g|
 *   first look    |a b   d e f g|     c was discarded since
 *   copied        |a b   d 0 f  |     e too, and read as zeros, which makes a zero page of it; g cannot be read
 *   second look   |a b   d   f  |
 *
 * To read a page that is not there changes the process: hence two looks.
 */
import { allocateBitmap, countBits, setBits } from '../core/bitmap.js'
import { forEachPageSpan } from '../core/chunks.js'
import { planPages, refinePlan, type DumpPlan } from '../core/plan.js'
import { wholePlan } from '../core/plan-parts.js'
import { pageSize } from '../kernel/page-size.js'
import { confirmIdentity } from '../kernel/target.js'
import type { JobReport } from '../tasks/jobs.js'
import { completeFlags } from './address-space.js'
import type { Captured, WindowInput } from './frozen-window.js'
import { throwIfAborted, type DumpSettings } from './options.js'
import { scanTarget } from './scan-target.js'

/** What was copied of a running process. */
export interface RunningCopy {
  /** What was captured, without what was gone before the copy. */
  readonly rest: Captured
  /** A bit for each page of its plan: gone by now. */
  readonly gone: Int32Array
  readonly pagesGone: number
}

/** Copies the planned pages of the running target as far as they are there. */
export async function copyRunning(
  settings: DumpSettings,
  window: WindowInput,
  captured: Captured,
): Promise<RunningCopy> {
  const goneBefore = allocateBitmap(planPages(captured.plan))
  markBlocking(window, captured.plan, completeFlags(window.target, captured.space.vmas), goneBefore)
  markAbsent(window, captured, goneBefore)
  settings.onStep('looked again')
  const { plan } = refinePlan(captured.plan, allocateBitmap(planPages(captured.plan)), goneBefore)
  const stagedPages = Math.min(planPages(plan), Math.floor(window.stagingBytes / pageSize()))
  const rest = { ...captured, plan, part: wholePlan(plan), stagedPages }
  const gone = allocateBitmap(planPages(plan))
  const copyReports = await copyPlanned(settings, window, rest, gone)
  markAbsent(window, rest, gone)
  // Another program's memory at the same addresses: the process has called exec meanwhile.
  confirmIdentity(window.target)
  const pagesGone = countBits(goneBefore) + countBits(gone)
  return { rest: { ...rest, copyReports }, gone, pagesGone }
}

/** Copies the planned pages; sets the bits of those that are gone. */
async function copyPlanned(
  settings: DumpSettings,
  window: WindowInput,
  { plan, part, stagedPages }: Captured,
  gone: Int32Array,
): Promise<JobReport[]> {
  const { target, crew, batchPages, stagingAddress, stagingBytes, pagesFd } = window
  const reports = await crew.run(
    {
      ...{ kind: 'copy', pid: target.pid, tid: target.tid, plan, places: part.places },
      ...{
        pages: planPages(plan),
        batchPages,
        stagingAddress,
        stagedPages,
        streamAddress: stagingAddress + stagingBytes,
        pagesFd,
        gone,
      },
    },
    () => {
      if (settings.signal?.aborted === true) crew.stop()
    },
  )
  throwIfAborted(settings.signal)
  return reports
}

/** Counts as gone the planned pages that the running target does not hold now. */
function markAbsent(
  { target, features, crew, survey }: WindowInput,
  captured: Captured,
  gone: Int32Array,
): void {
  const { plan, space } = captured
  const { chunks, present } = scanTarget({
    target,
    features,
    dirtyBit: 'all',
    segments: space.segments,
    chunks: survey.chunks,
    weights: survey.weights,
    shardPages: undefined,
    workers: crew.size,
    frozen: false,
    run: (job) => crew.runBlocking(job, () => false),
  })
  for (let run = 0; run < plan.runCount; run++) {
    const offset = plan.offsetPages[run] ?? 0
    const start = plan.startPage[run] ?? 0
    const end = start + (plan.offsetPages[run + 1] ?? 0) - offset
    forEachPageSpan(chunks, present, start, end, (from, to, isPresent) => {
      if (!isPresent) setBits(gone, offset + from - start, offset + to - start)
    })
  }
}

/**
 * Counts as gone what the target's own userfaultfd serves: were such a page missing by now, reading it would wait for
 * that server, for ever if the server waits for us.
 */
function markBlocking(
  { survey }: WindowInput,
  plan: DumpPlan,
  vmas: Captured['space']['vmas'],
  gone: Int32Array,
): void {
  if (!survey.space.vmas.some((vma) => vma.flags?.has('um') === true)) return
  let index = 0
  for (let run = 0; run < plan.runCount; run++) {
    const from = plan.offsetPages[run] ?? 0
    for (let at = from; at < (plan.offsetPages[run + 1] ?? 0); at++) {
      const page = (plan.startPage[run] ?? 0) + at - from
      while (index < vmas.length && (vmas[index]?.endPage ?? 0) <= page) index++
      const flags = vmas[index]?.flags
      if (flags === undefined || flags.has('um')) setBits(gone, at, at + 1)
    }
  }
}
