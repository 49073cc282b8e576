/**
 * A snapshot of one process: parent and tracker chosen, memory captured, images written.
 *
 *   images directory ─▶ parent, tracker ─▶ capture ─▶ save ─▶ publish
 */
import { codeOf, messageOf } from '../errors.js'
import { monotonicMicros } from '../kernel/clock.js'
import { probeKernel } from '../kernel/features.js'
import { examineTarget, type TargetIdentity } from '../kernel/target.js'
import { captureTarget } from './capture.js'
import { prepareRecords } from './interval-record.js'
import { settle, throwIfAborted, type DumpOptions, type DumpSettings } from './options.js'
import { createPagesFile } from './pages-file.js'
import { openImagesDirectory } from './prepare.js'
import type { DumpResult } from './result.js'
import { save } from './save.js'
import { closeTracking, planTracking } from './tracking.js'

/**
 * Dumps the memory of a running process into an images directory.
 *
 * The process stands still while its memory is copied, then runs on; the event loop of the caller stands
 * still for just as long. Either the whole snapshot appears in the directory or nothing does.
 *
 * @throws TidemarkError with one of the codes of the README's table
 */
export async function dump(options: DumpOptions): Promise<DumpResult> {
  return await takeSnapshot(settle(options, 'dump'))
}

/**
 * The same for a process that stands only while its dirty bits are read and reset: its memory is copied while it runs
 * on, and is consistent only together with a later dump whose parent this is.
 */
export async function preDump(options: DumpOptions): Promise<DumpResult> {
  return await takeSnapshot(settle(options, 'pre-dump'))
}

/**
 * Takes the snapshot; where the process turns out not to allow a fork, or a tracker that `auto` chose, once more
 * without it.
 */
export async function takeSnapshot(settings: DumpSettings): Promise<DumpResult> {
  const begunUs = monotonicMicros()
  // Options, target and directory are checked before anything is started.
  throwIfAborted(settings.signal)
  probeKernel()
  const target = examineTarget(settings.pid)
  for (let attempt: Attempt = { settings, avoided: '' }; ;) {
    try {
      return await snapshotOnce(attempt, target, begunUs)
    } catch (error) {
      attempt = otherWay(attempt, error)
    }
  }
}

interface Attempt {
  readonly settings: DumpSettings
  /** Why `auto` must not take a tracker that needs the kernel's help; empty for no reason. */
  readonly avoided: string
}

/** What to try after `error`, which is thrown where there is nothing. */
function otherWay({ settings, avoided }: Attempt, error: unknown): Attempt {
  const code = codeOf(error)
  const why = messageOf(error)
  if (code === 'FORK_FAILED' && settings.capture !== 'copy')
    return { settings: { ...settings, capture: 'copy', captureWhy: why }, avoided }
  const refused = code === 'INJECTION_REFUSED' || code === 'TRACKER_UNAVAILABLE'
  if (refused && settings.tracker === 'auto' && avoided === '') return { settings, avoided: why }
  throw error
}

async function snapshotOnce(
  { settings, avoided }: Attempt,
  target: TargetIdentity,
  begunUs: number,
): Promise<DumpResult> {
  const images = openImagesDirectory(settings.imagesDir)
  settings.onStep('directory opened')
  try {
    const tracking = planTracking(settings, target, images.path, avoided)
    try {
      if (tracking.tracker?.hasIntervals === true) prepareRecords()
      return await captureTarget(settings, target, tracking, begunUs, {
        open: (survey) => createPagesFile(images, survey, settings.maxMemory),
        save: (window, taken) => save(images, settings, window, taken),
      })
    } finally {
      closeTracking(tracking)
    }
  } catch (error) {
    images.discard()
    throw error
  }
}
