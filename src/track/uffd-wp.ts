/**
 * Write protection by userfaultfd: pages are protected, and the kernel itself takes the protection off at the
 * first write (WP_ASYNC, Linux 6.7). A page without it was written.
 *
 *   our process                         the target
 *   a copy of the descriptor  <------   userfaultfd, opened by one injected call, kept open there
 *   REGISTER, PAGEMAP_SCAN              its VMAs, registered
 *
 * The descriptor lives in the target so that tracking goes on when we end. It is taken up again only where a record
 * names its inode: any other may be the program's own, which must not lose a bit, a VMA or a descriptor by us. A VMA that is new, or that mremap
 * moved, is not registered: the scan tells (no WPALLOWED), all its pages count as dirty, and the next reset
 * registers it.
 *
 * source: Documentation/admin-guide/mm/userfaultfd.rst, Documentation/admin-guide/mm/pagemap.rst
 */
import { vmaFate } from '../core/fate.js'
import { WATCHED_FLAGS, type Vma } from '../core/vma.js'
import { codeOf, messageOf, TidemarkError } from '../errors.js'
import { borrowUserfaultfd, findUserfaultfds, type Userfaultfd } from '../kernel/userfaultfd.js'
import type { ReadTarget, TrackedProcess, Tracker, TrackerState, UnreadTarget } from './tracker.js'

/**
 * The tracker for one process.
 *
 * @param known - from the record of the interval that runs; its descriptor is taken up again if it is still the same
 * @throws TRACKER_UNAVAILABLE
 */
export function uffdWpTracker(process: TrackedProcess, known: TrackerState): Tracker {
  return new UffdWpTracker(process, known)
}

class UffdWpTracker implements Tracker {
  readonly name = 'uffd-wp'
  readonly dirtyBit = 'written'
  readonly hasIntervals = true
  readonly #process: TrackedProcess
  #uffd: Userfaultfd | undefined
  /** The descriptor in the target that this object has opened. */
  #openedFd: number | undefined
  /** VMAs that this object has registered. */
  readonly #registered = new Set<Vma>()

  constructor(process: TrackedProcess, known: TrackerState) {
    this.#process = process
    this.#uffd = takeUp(process, known)
  }

  prepare(target: UnreadTarget): void {
    if (this.#uffd !== undefined) return
    const { pid, tid } = this.#process
    const isWatched = target.vmas.some(({ flags }) => WATCHED_FLAGS.some((flag) => flags?.has(flag) === true))
    if (isWatched || target.usesUserfaultfd()) throw foreignOwner(pid)
    withoutFailedCalls(pid, () => {
      this.#openedFd = target.openUserfaultfd()
      this.#uffd = borrowUserfaultfd(pid, tid, this.#openedFd)
      this.#uffd.enableAsyncWriteProtect()
    })
  }

  notice(): string {
    return this.#openedFd === undefined ? '' : lastingEffects(this.#process.pid, this.#openedFd)
  }

  state(): TrackerState {
    const uffd = this.#uffd
    return uffd === undefined ? {} : { userfaultfd: { fd: uffd.remoteFd, inode: uffd.inode } }
  }

  reset(target: ReadTarget): void {
    if (this.#uffd === undefined) throw new TidemarkError('INTERNAL', 'reset before prepare')
    registerAll(this.#process.pid, this.#uffd, target.vmas, this.#registered)
    target.protect(this.#registered)
  }

  giveUp(closeDescriptor: (fd: number) => void): boolean {
    if (this.#openedFd === undefined) return false
    // A child that was forked meanwhile may hold the descriptor too: closing ours is not enough.
    for (const vma of this.#registered) this.#uffd?.unregister(vma.startPage, vma.endPage)
    closeDescriptor(this.#openedFd)
    this.#openedFd = undefined
    return true
  }

  close(): void {
    this.#uffd?.close()
  }
}

/**
 * Whether `vma` is watched. Others' pages always count as dirty.
 *
 * Not private mappings of files: a protected page of theirs that is discarded leaves a marker behind, and the
 * process's own MADV_GUARD_INSTALL over it would loop in the kernel for ever (seen on Linux 6.18). Of a file
 * only the pages that the process has changed are stored, so this costs little.
 */
function isWatchable(vma: Vma): boolean {
  return !vma.shared && vmaFate(vma).store === 'anonymous' && vma.flags?.has('ht') !== true
}

function takeUp({ pid, tid }: TrackedProcess, { userfaultfd }: TrackerState): Userfaultfd | undefined {
  if (userfaultfd === undefined) return undefined
  const { fd, inode } = userfaultfd
  const isThere = findUserfaultfds(tid, [fd]).some((found) => found.inode === inode)
  return isThere ? withoutFailedCalls(pid, () => borrowUserfaultfd(pid, tid, fd)) : undefined
}

/**
 * Registers what is not yet, into `registered`. Runs of neighbours go in one call, gaps included.
 *
 * One that cannot be registered belongs to another userfaultfd, whose owner may have reset its bits: then nothing
 * that the scan said of it can be trusted.
 */
function registerAll(pid: number, uffd: Userfaultfd, vmas: readonly Vma[], registered: Set<Vma>): void {
  let group: Vma[] = []
  const endGroup = (): void => {
    const first = group[0]
    const last = group.at(-1)
    const done = first !== undefined && last !== undefined && uffd.register(first.startPage, last.endPage)
    for (const vma of group) {
      if (!done && !uffd.register(vma.startPage, vma.endPage)) throw foreignOwner(pid)
      registered.add(vma)
    }
    group = []
  }
  for (const vma of vmas) {
    if (isWatchable(vma)) group.push(vma)
    else endGroup()
  }
  endGroup()
}

/** Calls `use`; a system call that fails in it, there or here, makes the tracker unavailable, no more. */
function withoutFailedCalls<Result>(pid: number, use: () => Result): Result {
  try {
    return use()
  } catch (error) {
    if (codeOf(error) !== 'SYSCALL_FAILED') throw error
    const message = `process ${String(pid)} cannot be tracked by userfaultfd: ${messageOf(error)}; choose --tracker content`
    throw new TidemarkError('TRACKER_UNAVAILABLE', message, { pid }, error)
  }
}

function foreignOwner(pid: number): TidemarkError {
  return new TidemarkError(
    'TRACKER_UNAVAILABLE',
    `process ${String(pid)} uses userfaultfd itself, or is tracked by a Tidemark that keeps its records elsewhere; ` +
      'choose --tracker content',
    { pid },
  )
}

function lastingEffects(pid: number, fd: number): string {
  return (
    `process ${String(pid)} is tracked from now on: it holds one more descriptor (${String(fd)}), cannot use userfaultfd ` +
    `on its memory itself, and pays about a microsecond at the first write to a page after each dump; a huge page is split ` +
    `at its first write; the heap has one VMA more for each dump between which it grew (vm.max_map_count); and CRIU ` +
    `cannot dump it; tidemark untrack -t ${String(pid)} takes that off`
  )
}
