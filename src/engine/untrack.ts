/** Takes tracking off a process: the record of its interval, and the userfaultfd that lives in it. */
import { freezerStateFile } from '../kernel/cgroups.js'
import { findUserfaultfds } from '../kernel/userfaultfd.js'
import { examineTarget } from '../kernel/target.js'
import { withFrozenTarget } from './freeze-target.js'
import { Freezer } from './freezer.js'
import { readRecord, removeRecord } from './interval-record.js'
import { settle } from './options.js'

/** What was taken off. */
export interface Untracked {
  readonly pid: number
  /** Whether there was a record of a last dump. */
  readonly record: boolean
  /** Whether a userfaultfd of ours was closed in the process; closing it unregisters all its memory. */
  readonly userfaultfd: boolean
}

/**
 * Stops tracking process `pid`. The process stands still for a moment where it holds a userfaultfd of ours.
 *
 * Without a record nobody can tell ours from the process's own, and none is closed.
 */
export async function untrack(options: { readonly pid: number }): Promise<Untracked> {
  const settings = settle({ pid: options.pid, imagesDir: '.' }, 'dump')
  const target = examineTarget(settings.pid)
  const record = readRecord(target)
  const known = record?.state.userfaultfd
  const open = findUserfaultfds(target.pid).some(({ fd, inode }) => fd === known?.fd && inode === known.inode)
  if (open && known !== undefined) {
    const freezer = await Freezer.start()
    await withFrozenTarget(settings, freezer, freezerStateFile(target.pid), (frozen) => {
      frozen.freezer.closeDescriptor(known.fd)
      frozen.freezer.thaw(settings.maxFrozenMs)
    })
  }
  if (record !== undefined) removeRecord(target)
  return { pid: target.pid, record: record !== undefined, userfaultfd: open }
}
