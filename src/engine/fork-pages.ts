/**
 * Reading the fork, while the target runs on: first whether it holds every page that it should, then the pages, straight
 * to their places in the file.
 *
 *   target's scan   |a b c|d e|         taken while both were the same
 *   fork's scan     |a b c|d|           e is missing: the fork is no good
 */
import { areBitsSet } from '../core/bitmap.js'
import { CHUNK_PAGES, slotOfPage } from '../core/chunks.js'
import { isForked, vmaFate } from '../core/fate.js'
import { planPages } from '../core/plan.js'
import { buildSegments } from '../core/segments.js'
import { codeOf, messageOf, TidemarkError } from '../errors.js'
import { isWhole } from '../kernel/fork.js'
import { pageSize } from '../kernel/page-size.js'
import type { JobReport } from '../tasks/jobs.js'
import type { Captured, ForkedPart, WindowInput } from './frozen-window.js'
import { throwIfAborted, type DumpSettings } from './options.js'
import { scanTarget } from './scan-target.js'

/** Failures of ours, which copying instead would not mend. */
const OWN_FAILURES = ['INTERRUPTED', 'WRITE_FAILED', 'WORKER_FAILED']

/**
 * Reads the fork's part of the plan, into the pages file.
 *
 * @throws FORK_FAILED where the fork lacks a page, or has not lived long enough; WRITE_FAILED, INTERRUPTED
 */
export async function copyFork(
  settings: DumpSettings,
  window: WindowInput,
  captured: Captured,
  fork: ForkedPart,
): Promise<JobReport[]> {
  try {
    expectAll(window, captured, fork)
    const reports = await readFork(settings, window, fork)
    // Memory that the kernel takes from a process that it has killed may read as zeros.
    if (isWhole(fork.pid)) return reports
    throw new Error('it was killed while it was read')
  } catch (error) {
    throwIfAborted(settings.signal)
    if (OWN_FAILURES.includes(codeOf(error) ?? '')) throw error
    const { pid } = window.target
    const text = `the fork of process ${String(pid)} is no good: ${messageOf(error)}`
    throw new TidemarkError('FORK_FAILED', text, { pid }, error)
  }
}

/** Throws where a page that is to be read is not there: reading it would give zeros. */
function expectAll({ features, survey, crew }: WindowInput, { space }: Captured, fork: ForkedPart): void {
  const { pid, part, chunks } = fork
  const known = chunks === survey.chunks
  const scanned = scanTarget({
    target: { pid, tid: pid },
    features,
    dirtyBit: 'all',
    segments: buildSegments(space.vmas, features.pagemapScan, (vma) =>
      isForked(vma) ? vmaFate(vma).store : 'none',
    ),
    chunks,
    weights: known ? survey.weights : new Int32Array(chunks.count),
    shardPages: undefined,
    workers: crew.size,
    frozen: false,
    run: (job) => crew.runBlocking(job, () => false),
  })
  const { plan } = part
  for (let run = 0; run < plan.runCount; run++) {
    const start = plan.startPage[run] ?? 0
    const end = start + (plan.offsetPages[run + 1] ?? 0) - (plan.offsetPages[run] ?? 0)
    if (!isPresent(scanned, start, end))
      throw new Error(`it lacks pages from 0x${(start * pageSize()).toString(16)} on`)
  }
}

/** The same for a run that may reach over several chunks. */
function isPresent({ chunks, present }: ReturnType<typeof scanTarget>, start: number, end: number): boolean {
  for (let page = start; page < end;) {
    const stop = Math.min(end, (Math.floor(page / CHUNK_PAGES) + 1) * CHUNK_PAGES)
    const slot = slotOfPage(chunks, page)
    if (slot < 0 || !areBitsSet(present, slot, slot + stop - page)) return false
    page = stop
  }
  return true
}

async function readFork(
  settings: DumpSettings,
  { crew, batchPages, stagingAddress, stagingBytes, pagesFd }: WindowInput,
  { pid, part }: ForkedPart,
): Promise<JobReport[]> {
  const pages = planPages(part.plan)
  const size = pageSize()
  return await crew.run(
    {
      ...{ kind: 'copy', pid, tid: pid, plan: part.plan, places: part.places, pages, batchPages },
      ...{ stagingAddress, stagedPages: 0, streamAddress: stagingAddress + stagingBytes, pagesFd },
      gone: undefined,
    },
    () => {
      if (settings.signal?.aborted === true) crew.stop()
      const doneBytes = Math.min(pages, crew.progress * batchPages) * size
      settings.onProgress({ step: 'write', doneBytes, totalBytes: pages * size })
    },
  )
}
