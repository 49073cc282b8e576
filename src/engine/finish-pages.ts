/**
 * After the thaw: which of the captured pages go into the pages file, and where.
 *
 *   dump                     all of them, where the plan says; those that a fork holds are read from it now
 *   content tracker          those that differ from the parent's; the others become holes
 *   pre-dump                 copied only now, from the running process; those that are gone are dropped
 *
 *   captured   |a b c d e|f g h|        staged | streamed to the file already
 *   kept       |a   c d  |f   h|
 *   file       |a c d f h|              staged pages written, streamed ones moved up, the rest cut off
 */
import { fstatSync, ftruncateSync, read, write } from 'node:fs'
import { promisify } from 'node:util'
import { allocateBitmap } from '../core/bitmap.js'
import { countPages } from '../core/page-runs.js'
import type { PageMoves } from '../core/page-moves.js'
import { planPages, refinePlan, type DumpPlan } from '../core/plan.js'
import { TidemarkError } from '../errors.js'
import { writeFailed } from '../image/fs-error.js'
import { pageSize } from '../kernel/page-size.js'
import type { JobReport } from '../tasks/jobs.js'
import { copyFork } from './fork-pages.js'
import type { Captured, WindowInput } from './frozen-window.js'
import { throwIfAborted, type DumpSettings } from './options.js'
import { copyRunning } from './running-pages.js'
import { comparesPages } from './tracking.js'

/** Pages in their final places. */
export interface FinishedPages {
  /** What was captured, with the plan that holds for the images. */
  readonly captured: Captured
  /** Where staged pages go. */
  readonly moves: PageMoves
  /** Pages that come from staging memory: of all that are moved the first ones. */
  readonly stagedPages: number
  /** What the threads did to read the fork; empty where there is none. */
  readonly forkReports: readonly JobReport[]
  /** Pages that were gone before they could be copied. */
  readonly pagesGone: number
}

/** Finds out what is stored, and brings what was streamed to its final place. */
export async function finishPages(
  settings: DumpSettings,
  window: WindowInput,
  captured: Captured,
): Promise<FinishedPages> {
  const { plan, part, fork } = captured
  const compares = comparesPages(window.tracking)
  if (window.mode === 'dump' && !compares) {
    const forkReports = fork === undefined ? [] : await copyFork(settings, window, captured, fork)
    return { captured, moves: part.places, stagedPages: captured.stagedPages, forkReports, pagesGone: 0 }
  }
  if (window.mode === 'pre-dump') return await finishRunning(settings, window, captured)
  return await refine(settings, window, captured, allocateBitmap(planPages(plan)))
}

/** The same for a pre-dump, which copies from the running process. */
async function finishRunning(
  settings: DumpSettings,
  window: WindowInput,
  captured: Captured,
): Promise<FinishedPages> {
  const { rest, gone, pagesGone } = await copyRunning(settings, window, captured)
  const finished = await refine(settings, window, rest, gone)
  return { ...finished, pagesGone }
}

/** What is stored of the captured pages in the end: neither what the parent has, nor what is `gone`. */
async function refine(
  settings: DumpSettings,
  window: WindowInput,
  captured: Captured,
  gone: Int32Array,
): Promise<FinishedPages> {
  const { plan, stagedPages } = captured
  const same = allocateBitmap(planPages(plan))
  if (comparesPages(window.tracking)) await compareWithParent(settings, window, captured, same)
  const refined = refinePlan(plan, same, gone)
  await moveStreamed(window.pagesFd, refined.moves, stagedPages, refined.plan)
  return {
    captured: {
      ...captured,
      plan: refined.plan,
      pagesScanned: planPages(refined.plan) + countPages(refined.plan.holes),
    },
    moves: refined.moves,
    stagedPages: movedFrom(refined.moves, stagedPages),
    forkReports: [],
    pagesGone: 0,
  }
}

async function compareWithParent(
  settings: DumpSettings,
  window: WindowInput,
  { plan, stagedPages }: Captured,
  same: Int32Array,
): Promise<void> {
  const { crew, batchPages, stagingAddress, stagingBytes, tracking } = window
  if (tracking.parent === undefined) return
  const { located, links } = tracking.parent.chain
  await crew.run(
    {
      ...{ kind: 'compare', plan, stagingAddress, stagedPages, batchPages, located, same },
      bufferAddress: stagingAddress + stagingBytes,
      pagesFds: links.map(({ pagesFd }) => pagesFd),
    },
    () => {
      if (settings.signal?.aborted === true) crew.stop()
    },
  )
  throwIfAborted(settings.signal)
}

/** Pages of the file that `moves` fills from places below `limit`. */
function movedFrom(moves: PageMoves, limit: number): number {
  let pages = 0
  for (let move = 0; move < moves.count; move++) {
    const from = moves.fromPage[move] ?? 0
    const length = (moves.beforePages[move + 1] ?? 0) - (moves.beforePages[move] ?? 0)
    pages += Math.max(0, Math.min(length, limit - from))
  }
  return pages
}

const MOVE_BYTES = 2 ** 22
const readFile = promisify(read)
const writeFile = promisify(write)

/** Moves pages that are in the file already up to their final places, and cuts the file to its final size. */
async function moveStreamed(
  fd: number,
  moves: PageMoves,
  stagedPages: number,
  plan: DumpPlan,
): Promise<void> {
  const size = pageSize()
  const buffer = Buffer.allocUnsafeSlow(MOVE_BYTES)
  try {
    for (let move = 0; move < moves.count; move++) {
      const from = moves.fromPage[move] ?? 0
      const to = moves.toPage[move] ?? 0
      const skipped = Math.max(0, stagedPages - from)
      const pages = (moves.beforePages[move + 1] ?? 0) - (moves.beforePages[move] ?? 0)
      for (let at = skipped; at < pages && from !== to; at += MOVE_BYTES / size) {
        const length = Math.min(MOVE_BYTES, (pages - at) * size)
        const { bytesRead } = await readFile(fd, buffer, 0, length, (from + at) * size)
        if (bytesRead !== length)
          throw new TidemarkError('WRITE_FAILED', 'the pages file has shrunk while it was written')
        await writeFully(fd, buffer, length, (to + at) * size)
      }
    }
    const bytes = planPages(plan) * size
    if (fstatSync(fd).size > bytes) ftruncateSync(fd, bytes)
  } catch (error) {
    throw writeFailed(error, 'the pages file')
  }
}

async function writeFully(fd: number, buffer: Buffer, length: number, position: number): Promise<void> {
  for (let done = 0; done < length;) {
    const { bytesWritten } = await writeFile(fd, buffer, done, length - done, position + done)
    done += bytesWritten
  }
}
