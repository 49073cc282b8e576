/** One trial of a tuning: the target's memory taken as a dump takes it, and given up again. */
import { closeSync, fsync, openSync, rmdirSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import type { ImagesDirectory } from '../image/images-dir.js'
import { writeFailed } from '../image/fs-error.js'
import { monotonicMicros } from '../kernel/clock.js'
import { pageSize } from '../kernel/page-size.js'
import type { TargetIdentity } from '../kernel/target.js'
import { captureTarget } from './capture.js'
import type { WindowInput } from './frozen-window.js'
import { throwIfAborted, type DumpSettings } from './options.js'
import { createPagesFile } from './pages-file.js'
import { openImagesDirectory } from './prepare.js'
import { sumOf } from './result.js'
import { writePages } from './save.js'
import type { Taken } from './taken.js'
import { UNTRACKED } from './tracking.js'

/** What one trial measured. Times in microseconds. */
export interface TuneSample {
  /** Pages that the process held. */
  readonly pages: number
  readonly scanUs: number
  readonly captureUs: number
  /** From the first thread stopped until the last let go. */
  readonly frozenUs: number
  /** Bytes beyond the staging memory: written while the target stood still. */
  readonly streamedBytes: number
  /** Writing what was staged, without waiting for the disk; 0 without a directory. */
  readonly writeUs: number
  /** Waiting for the disk after that; 0 without a directory. */
  readonly syncUs: number
}

/** The folder below the user's directory in which trials write. */
const TUNE_FOLDER = '.tidemark-tune'

/** Where captured memory goes when it goes nowhere. */
const NOWHERE = '/dev/null'

/**
 * Takes the target's memory by `settings`, and forgets it.
 *
 * @param folder - where a pages file is written, and removed again; undefined for none
 */
export async function runTrial(
  settings: DumpSettings,
  target: TargetIdentity,
  folder: string | undefined,
): Promise<TuneSample> {
  return folder === undefined
    ? await captureToNowhere(settings, target)
    : await captureToFolder(settings, target, join(folder, TUNE_FOLDER))
}

async function captureToNowhere(settings: DumpSettings, target: TargetIdentity): Promise<TuneSample> {
  const fd = openSync(NOWHERE, 'w')
  try {
    return await captureTarget(settings, target, UNTRACKED, monotonicMicros(), {
      open: () => fd,
      save: (_, taken) => Promise.resolve({ ...measured(taken), writeUs: 0, syncUs: 0 }),
    })
  } finally {
    closeSync(fd)
  }
}

/** An images directory that is never published: what is in it is private, and removed by the next run if we are killed. */
async function captureToFolder(
  settings: DumpSettings,
  target: TargetIdentity,
  folder: string,
): Promise<TuneSample> {
  const images = openImagesDirectory(folder)
  try {
    return await captureTarget(settings, target, UNTRACKED, monotonicMicros(), {
      open: (survey) => createPagesFile(images, survey, settings.maxMemory),
      save: async (window, taken) => ({
        ...measured(taken),
        ...(await writeAndSync(settings, images, window, taken)),
      }),
    })
  } finally {
    images.discard()
    removeLeftFolder(folder)
  }
}

/** Removes the folder that a killed run had made: the directory that we made ourselves is gone by now. */
function removeLeftFolder(folder: string): void {
  try {
    rmdirSync(folder)
  } catch {
    // Gone, or somebody put files into it.
  }
}

function measured({ captured, held, releasedUs }: Taken): Omit<TuneSample, 'writeUs' | 'syncUs'> {
  return {
    pages: captured.pagesScanned,
    scanUs: captured.steps.scanUs,
    captureUs: captured.steps.captureUs,
    frozenUs: releasedUs - held.begunMicros,
    streamedBytes: sumOf(captured.copyReports, 'streamedPages') * pageSize(),
  }
}

async function writeAndSync(
  settings: DumpSettings,
  images: ImagesDirectory,
  window: WindowInput,
  { captured }: Taken,
): Promise<Pick<TuneSample, 'writeUs' | 'syncUs'>> {
  const { stagedPages, part } = captured
  const begunUs = monotonicMicros()
  await writePages(settings, window, {
    captured,
    moves: part.places,
    stagedPages,
    forkReports: [],
    pagesGone: 0,
  })
  throwIfAborted(settings.signal)
  const writtenUs = monotonicMicros()
  try {
    // Off the main thread: a signal may come meanwhile.
    await promisify(fsync)(window.pagesFd)
  } catch (error) {
    throw writeFailed(error, images.path, 'fsync')
  }
  return { writeUs: writtenUs - begunUs, syncUs: monotonicMicros() - writtenUs }
}
