/** After the thaw: what was taken is written, described and published. */
import { countPages } from '../core/page-runs.js'
import { planPages } from '../core/plan.js'
import { TidemarkError } from '../errors.js'
import type { ImagesDirectory } from '../image/images-dir.js'
import type { ImageFile, SnapshotParent } from '../image/manifest.js'
import type { DumpStats } from '../image/stats.js'
import { monotonicMicros } from '../kernel/clock.js'
import { pageSize } from '../kernel/page-size.js'
import type { JobReport } from '../tasks/jobs.js'
import { completeFlags } from './address-space.js'
import { finishPages, type FinishedPages } from './finish-pages.js'
import type { WindowInput } from './frozen-window.js'
import { mergeGuards, PAGES_NAME, writeImages, writeManifest, writeStats } from './images.js'
import { throwIfAborted, type DumpSettings } from './options.js'
import { trimPagesFile } from './pages-file.js'
import { confirmParent, type Parent } from './parent.js'
import {
  countUnreadable,
  sumOf,
  workerShares,
  type DumpResult,
  type FrozenSteps,
  type WallTimes,
} from './result.js'
import { VERSION } from './version.js'
import type { Taken } from './taken.js'
import { findWarnings } from './warnings.js'

/** Writes and publishes the snapshot. Throws `WRITE_FAILED`, `INTERRUPTED`; the images directory is the caller's to discard. */
export async function save(
  images: ImagesDirectory,
  settings: DumpSettings,
  window: WindowInput,
  takenBefore: Taken,
): Promise<DumpResult> {
  throwIfAborted(settings.signal)
  const finished = await finishPages(settings, window, takenBefore.captured)
  window.dropFork()
  settings.onStep('pages finished')
  const taken = { ...takenBefore, captured: finished.captured }
  const { captured, facts } = taken
  const { files, writes } = await writeAll(images, settings, window, taken, finished)
  const writtenUs = monotonicMicros()
  settings.onStep('pages written')
  const warnings = findWarnings(taken)
  const { snapshotId, tracking } = window
  const parent = parentOf(window, taken)
  if (parent !== undefined) {
    confirmParent(images.path, parent, window.target.pid)
    images.linkParent(parent.link)
  }
  const bytes = planPages(captured.plan) * pageSize()
  const all: ImageFile[] = [
    { name: PAGES_NAME, bytes },
    ...files,
    writeStats(images, statsOf(taken, writtenUs)),
  ]
  writeManifest(images, facts, captured, {
    snapshotId,
    kind: window.mode,
    parent: parent === undefined ? undefined : describeParent(parent),
    tracker: tracking.tracker?.name ?? '',
    files: all,
    warnings,
    stats: { ...frozenSteps(taken), frozenUs: frozenMicros(taken) },
    tidemarkVersion: VERSION,
  })
  settings.onStep('described')
  settings.onProgress({ step: 'publish', doneBytes: bytes, totalBytes: bytes })
  await images.publish({
    ...{ sync: settings.sync, files: all },
    proceed: () => {
      throwIfAborted(settings.signal)
    },
  })
  settings.onStep('published')
  return {
    imagesDir: images.path,
    snapshotId,
    warnings,
    ...describeCaptured(window, taken, finished.forkReports),
    pagesGone: finished.pagesGone,
    parent: parent?.link,
    wall: wallTimes(taken, writtenUs),
    workers: workerShares(captured.scanReports, captured.copyReports, finished.forkReports, writes),
  }
}

function parentOf({ tracking }: WindowInput, { captured }: Taken): Parent | undefined {
  return captured.fullBecause === '' ? tracking.parent : undefined
}

/** Times up to now. */
function wallTimes(taken: Taken, writtenUs: number): WallTimes {
  return {
    startUs: taken.startedUs - taken.begunUs,
    prepareUs: taken.held.begunMicros - taken.startedUs,
    frozenUs: frozenMicros(taken),
    writeUs: writtenUs - taken.releasedUs,
    publishUs: monotonicMicros() - writtenUs,
    totalUs: monotonicMicros() - taken.begunUs,
  }
}

function checkWritten(writes: readonly JobReport[], { stagedPages }: FinishedPages): void {
  if (sumOf(writes, 'pages') !== stagedPages)
    throw new TidemarkError('INTERNAL', 'not every page was written')
}

function describeParent({ link, chain }: Parent): SnapshotParent {
  return { link, snapshotId: chain.links[0]?.manifest?.snapshotId ?? '' }
}

function statsOf(taken: Taken, writtenUs: number): DumpStats {
  const { captured, releasedUs } = taken
  const frozen = frozenSteps(taken)
  return {
    freezingTimeUs: frozen.seizeUs,
    frozenTimeUs: frozenMicros(taken),
    memdumpTimeUs: frozen.scanUs + frozen.planUs + frozen.captureUs,
    memwriteTimeUs: writtenUs - releasedUs,
    pagesScanned: captured.pagesScanned,
    pagesSkippedParent: countPages(captured.plan.holes),
    pagesWritten: planPages(captured.plan),
  }
}

/** Writes the pages and the small images. */
async function writeAll(
  images: ImagesDirectory,
  settings: DumpSettings,
  window: WindowInput,
  taken: Taken,
  finished: FinishedPages,
): Promise<{ readonly files: ImageFile[]; readonly writes: JobReport[] }> {
  const writing = writePages(settings, window, finished)
  const files = await describe(images, window, taken, writing)
  const writes = await writing
  throwIfAborted(settings.signal)
  checkWritten(writes, finished)
  return { files, writes }
}

/** Writes the small images while the crew writes the pages; a failure waits for the crew. */
async function describe(
  images: ImagesDirectory,
  window: WindowInput,
  taken: Taken,
  writing: Promise<unknown>,
): Promise<ImageFile[]> {
  try {
    return writeImages(
      images,
      taken.facts,
      taken.captured,
      completeFlags(window.target, taken.captured.space.vmas),
      window.mode,
    )
  } catch (error) {
    window.crew.stop()
    await Promise.allSettled([writing])
    throw error
  }
}

/** Writes what was staged, with all workers; resolves when every byte has been given to the kernel. */
export async function writePages(
  settings: DumpSettings,
  window: WindowInput,
  { moves, stagedPages }: FinishedPages,
): Promise<JobReport[]> {
  const { crew, pagesFd, stagingAddress } = window
  const byteLength = stagedPages * pageSize()
  const job = {
    kind: 'write',
    pagesFd,
    address: stagingAddress,
    moves,
    pages: stagedPages,
    bufferPages: window.batchPages,
  } as const
  const reports = await crew.run(job, () => {
    if (settings.signal?.aborted === true) crew.stop()
    const doneBytes = Math.min(byteLength, crew.progress * settings.bufferSize)
    settings.onProgress({ step: 'write', doneBytes, totalBytes: byteLength })
  })
  trimPagesFile(pagesFd)
  return reports
}

type CapturedResult = Omit<
  DumpResult,
  'imagesDir' | 'snapshotId' | 'warnings' | 'wall' | 'workers' | 'pagesGone' | 'parent'
>

function describeCaptured(
  window: WindowInput,
  taken: Taken,
  forkReports: readonly JobReport[],
): CapturedResult {
  const { target, features, mode, tracking } = window
  const { captured, facts } = taken
  const pages = planPages(captured.plan)
  return {
    pid: target.pid,
    nsPid: target.nsPid,
    comm: target.comm,
    threads: facts.threads.length,
    vmas: captured.space.vmas.length,
    pageSize: pageSize(),
    pagesScanned: captured.pagesScanned,
    pagesStored: pages,
    pagesInParent: countPages(captured.plan.holes),
    cleanNotInParent: captured.cleanNotInParent,
    kind: mode,
    tracker: tracking.tracker === undefined ? undefined : { name: tracking.tracker.name, why: tracking.why },
    fullBecause: captured.fullBecause,
    bytesStored: pages * pageSize(),
    capture: window.capture,
    runs: captured.plan.runCount + captured.plan.holes.count,
    guardPages: mergeGuards(captured.scanReports).reduce(
      (sum, guard) => sum + guard.endPage - guard.startPage,
      0,
    ),
    unreadablePages: countUnreadable(captured.scanReports),
    forcedPages: sumOf([...captured.copyReports, ...forkReports], 'forcedPages'),
    stagedBytes: captured.stagedPages * pageSize(),
    streamedBytes: sumOf(captured.copyReports, 'streamedPages') * pageSize(),
    complete: captured.missing.length === 0,
    missing: captured.missing,
    scanner: features.pagemapScan ? 'PAGEMAP_SCAN' : '/proc/PID/pagemap',
    frozen: frozenSteps(taken),
  }
}

function frozenSteps({ held, captured, thawUs }: Taken): FrozenSteps {
  return { seizeUs: held.heldMicros - held.begunMicros, ...captured.steps, thawUs }
}

function frozenMicros({ held, releasedUs }: Taken): number {
  return releasedUs - held.begunMicros
}
