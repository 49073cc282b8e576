/**
 * Write protection by userfaultfd: pages are protected, and the kernel itself takes the protection off at the
 * first write (WP_ASYNC, Linux 6.7). A page without it was written.
 *
 *   our process                         the target
 *   a copy of the descriptor  <------   userfaultfd, opened by one injected call, kept open there
 *   REGISTER, PAGEMAP_SCAN              its VMAs, registered
 *
 * The descriptor lives in the target so that tracking goes on when we end. A VMA that is new, or that mremap
 * moved, is not registered: the scan tells (no WPALLOWED), all its pages count as dirty, and the next reset
 * registers it.
 *
 * source: Documentation/admin-guide/mm/userfaultfd.rst, Documentation/admin-guide/mm/pagemap.rst
 */
import { vmaFate } from '../core/fate.js'
import type { Vma } from '../core/vma.js'
import { TidemarkError } from '../errors.js'
import { borrowUserfaultfd, findUserfaultfds, type Userfaultfd } from '../kernel/userfaultfd.js'
import type { Tracker, TrackerState, UnreadTarget } from './tracker.js'

/**
 * The tracker for process `pid`.
 *
 * @param known - from the record of the interval that runs; its descriptor is taken up again if it is still the same
 */
export function uffdWpTracker(pid: number, known: TrackerState): Tracker {
  let uffd = takeUp(pid, known)
  let hasBegun = false
  return {
    name: 'uffd-wp',
    dirtyBit: 'written',
    hasIntervals: true,
    prepare: (target) => {
      hasBegun = uffd === undefined
      uffd ??= open(pid, target)
    },
    notice: () => (hasBegun && uffd !== undefined ? lastingEffects(pid, uffd.remoteFd) : ''),
    state: () => (uffd === undefined ? {} : { userfaultfd: { fd: uffd.remoteFd, inode: uffd.inode } }),
    reset: (target) => {
      if (uffd === undefined) throw new TidemarkError('INTERNAL', 'reset before prepare')
      target.protect(registerAll(pid, uffd, target.vmas))
    },
    close: () => {
      uffd?.close()
    },
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

function takeUp(pid: number, known: TrackerState): Userfaultfd | undefined {
  const { userfaultfd } = known
  if (userfaultfd === undefined) return undefined
  const found = findUserfaultfds(pid).some(
    ({ fd, inode }) => fd === userfaultfd.fd && inode === userfaultfd.inode,
  )
  return found ? borrowUserfaultfd(pid, userfaultfd.fd) : undefined
}

/** Opens one in the target, or takes up one that a run of ours left there without a record. */
function open(pid: number, target: UnreadTarget): Userfaultfd {
  const registered = target.vmas.filter((vma) => vma.flags?.has('uw') === true)
  if (registered.length > 0) {
    for (const { fd } of findUserfaultfds(pid)) {
      const candidate = borrowUserfaultfd(pid, fd)
      if (registered.every((vma) => candidate.register(vma.startPage, vma.endPage))) return candidate
      candidate.close()
    }
    throw foreignOwner(pid)
  }
  const uffd = borrowUserfaultfd(pid, target.openUserfaultfd())
  uffd.enableAsyncWriteProtect()
  return uffd
}

/**
 * Registers what is not yet; the VMAs that are now. Runs of neighbours go in one call, gaps included.
 *
 * One that cannot be registered belongs to another userfaultfd, whose owner may have reset its bits: then nothing
 * that the scan said of it can be trusted.
 */
function registerAll(pid: number, uffd: Userfaultfd, vmas: readonly Vma[]): Set<Vma> {
  const watched = new Set<Vma>()
  let group: Vma[] = []
  const endGroup = (): void => {
    const first = group[0]
    const last = group.at(-1)
    if (first !== undefined && last !== undefined) {
      const done = uffd.register(first.startPage, last.endPage)
      if (!done && !group.every((vma) => uffd.register(vma.startPage, vma.endPage))) throw foreignOwner(pid)
      for (const vma of group) watched.add(vma)
    }
    group = []
  }
  for (const vma of vmas) {
    if (isWatchable(vma)) group.push(vma)
    else endGroup()
  }
  endGroup()
  return watched
}

function foreignOwner(pid: number): TidemarkError {
  return new TidemarkError(
    'TRACKER_UNAVAILABLE',
    `process ${String(pid)} uses userfaultfd itself; choose --tracker content`,
    { pid },
  )
}

function lastingEffects(pid: number, fd: number): string {
  return (
    `process ${String(pid)} is tracked from now on: it holds one more descriptor (${String(fd)}), cannot use userfaultfd ` +
    `on its memory itself, pays about a microsecond at the first write to a page after each dump, and CRIU cannot ` +
    `dump it; tidemark untrack -t ${String(pid)} takes that off`
  )
}
