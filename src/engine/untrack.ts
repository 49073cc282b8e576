/** Takes tracking off a process: the record of its interval, and what userfaultfds of ours live in it. */
import type { Vma } from '../core/vma.js'
import { codeOf, TidemarkError } from '../errors.js'
import { freezerStateFile } from '../kernel/cgroups.js'
import { addVmFlags, parseMaps } from '../kernel/maps-text.js'
import { pageSize } from '../kernel/page-size.js'
import { readProc } from '../kernel/procfs.js'
import { examineTarget, type TargetIdentity } from '../kernel/target.js'
import {
  borrowUserfaultfd,
  findUserfaultfds,
  type RemoteUserfaultfd,
  type Userfaultfd,
} from '../kernel/userfaultfd.js'
import { withFrozenTarget } from './freeze-target.js'
import { Freezer } from './freezer.js'
import { readRecord, removeRecord, type IntervalRecord } from './interval-record.js'
import { forgetOpening, leftUserfaultfds } from './left-userfaultfds.js'
import { settle } from './options.js'

/** What was taken off. */
export interface Untracked {
  readonly pid: number
  /** Whether there was a record of a last dump. */
  readonly record: boolean
  /** Whether a userfaultfd of ours was closed in the process, after none of its memory was registered with it any more. */
  readonly userfaultfd: boolean
}

/** Times that memory is looked through for what is still registered: a running process may split or move it meanwhile. */
const ROUNDS = 5

/**
 * Stops tracking process `pid`. The process stands still for a moment where it holds a userfaultfd of ours.
 *
 * Without a record nobody can tell ours from the process's own, and none is closed.
 *
 * @throws TRACKER_UNAVAILABLE where it is still there afterwards; the record stays then
 */
export async function untrack(options: { readonly pid: number }): Promise<Untracked> {
  const settings = settle({ pid: options.pid, imagesDir: '.' }, 'dump')
  const target = examineTarget(settings.pid)
  const record = readRecord(target)
  const ours = (): RemoteUserfaultfd[] => ourUserfaultfds(target, record)
  const before = ours()
  if (before.length > 0) {
    const borrowed = before.map(({ fd }) => unregisterAll(target, fd))
    const freezer = await Freezer.start()
    await withFrozenTarget(settings, freezer, freezerStateFile(target.pid), (frozen) => {
      for (const { fd } of ours()) frozen.freezer.closeDescriptor(fd)
      frozen.freezer.thaw(settings.maxFrozenMs)
    })
    const isRegistered = borrowed.includes(false) && registeredVmas(target.tid).length > 0
    if (ours().length > 0 || isRegistered) throw stillTracked(target.pid)
  }
  forgetOpening(target)
  if (record !== undefined) removeRecord(target)
  return { pid: target.pid, record: record !== undefined, userfaultfd: before.length > 0 }
}

function ourUserfaultfds(target: TargetIdentity, record: IntervalRecord | undefined): RemoteUserfaultfd[] {
  const recorded = record?.state.userfaultfd?.inode
  return [
    ...findUserfaultfds(target.tid).filter(({ inode }) => inode === recorded),
    ...leftUserfaultfds(target),
  ]
}

/**
 * Unregisters all memory from userfaultfd `fd` of the running target. Closing it is not enough: a forked child may hold
 * it too. False where it cannot be borrowed.
 */
function unregisterAll({ pid, tid }: TargetIdentity, fd: number): boolean {
  let uffd: Userfaultfd
  try {
    uffd = borrowUserfaultfd(pid, tid, fd)
  } catch (error) {
    if (codeOf(error) !== 'SYSCALL_FAILED') throw error
    return false
  }
  try {
    for (let round = 0; round < ROUNDS; round++) {
      // What is another userfaultfd's is refused by the first.
      const own = registeredVmas(tid).filter(({ startPage, endPage }) => uffd.register(startPage, endPage))
      for (const { startPage, endPage } of own) uffd.unregister(startPage, endPage)
      if (own.length === 0) break
    }
    return true
  } finally {
    uffd.close()
  }
}

function registeredVmas(tid: number): Vma[] {
  const [maps, smaps] = ['maps', 'smaps'].map((name) => readProc(`/proc/${String(tid)}/${name}`))
  if (maps === undefined || smaps === undefined) return []
  const vmas = addVmFlags(parseMaps(maps, pageSize()), smaps, pageSize())
  return vmas.filter(({ flags }) => flags?.has('uw') === true)
}

function stillTracked(pid: number): TidemarkError {
  return new TidemarkError(
    'TRACKER_UNAVAILABLE',
    `tracking could not be taken off process ${String(pid)}: it or its children hold copies of our userfaultfd; try again`,
    { pid },
  )
}
