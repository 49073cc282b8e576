/**
 * Memory of this process, tracked as a target's is. Each mapping has a page that is not mapped on either side, so that none
 * grows into another.
 */
import { closeSync } from 'node:fs'
import { allocateRanges, RANGE_DIRTY } from '../../src/core/page-ranges.js'
import { SEGMENT_CLASS } from '../../src/core/segments.js'
import type { Vma } from '../../src/core/vma.js'
import { probeKernel } from '../../src/kernel/features.js'
import { addVmFlags, parseMaps } from '../../src/kernel/maps-text.js'
import { openPagemap } from '../../src/kernel/open-pagemap.js'
import { PagemapProtector } from '../../src/kernel/pagemap-protect.js'
import { readProc } from '../../src/kernel/procfs.js'
import type { TrackedProcess, Tracker, TrackerState } from '../../src/track/tracker.js'
import { pageSize } from '../support/kernel-vmas.js'
import { mremap, systemCall } from '../victims/libc.js'
import { ADVICE, advisePages, fill, mapPages, unmapPages } from '../victims/memory.js'
import type { TrackedMemory } from './contract.js'

const SYS_USERFAULTFD = 323
/** O_CLOEXEC, UFFD_USER_MODE_ONLY */
const FLAGS = 0o2000001
const MREMAP_MAYMOVE_FIXED = 3
const SIZE = pageSize()

/** Some memory, with trackers made by `open`. */
export function ownMemory(open: (process: TrackedProcess, state: TrackerState) => Tracker): TrackedMemory {
  const mapped = new Map<number, number>()
  const opened: number[] = []
  let seed = 1
  const write = (page: number, pages: number): void => {
    fill(page * SIZE, pages, seed++)
  }
  const mapEmpty = (pages: number): number => {
    const address = mapPages(pages + 2)
    unmapPages(address, 1)
    unmapPages(address + (pages + 1) * SIZE, 1)
    const page = address / SIZE + 1
    advisePages(page * SIZE, pages, ADVICE.NOHUGEPAGE)
    mapped.set(page, pages)
    return page
  }
  return {
    map: (pages) => {
      const page = mapEmpty(pages)
      write(page, pages)
      return page
    },
    write,
    move: (page, pages) => {
      const moved = mapEmpty(pages)
      mremap(page * SIZE, pages * SIZE, pages * SIZE, MREMAP_MAYMOVE_FIXED, moved * SIZE)
      mapped.delete(page)
      return moved
    },
    discard: (page, pages) => {
      advisePages(page * SIZE, pages, ADVICE.DONTNEED)
    },
    open: (state) => open({ pid: process.pid, tid: process.pid }, state),
    prepare: (tracker) => {
      const openUserfaultfd = (): number => {
        const fd = systemCall('userfaultfd', SYS_USERFAULTFD, FLAGS)
        opened.push(fd)
        return fd
      }
      tracker.prepare({ vmas: vmasOf(mapped), usesUserfaultfd: () => false, openUserfaultfd })
    },
    reset: (tracker) => {
      tracker.reset({ vmas: vmasOf(mapped), protect })
    },
    look,
    end: () => {
      for (const [page, pages] of mapped) unmapPages(page * SIZE, pages)
      for (const fd of opened) closeSync(fd)
    },
  }
}

/** The VMAs of what is mapped. */
function vmasOf(mapped: ReadonlyMap<number, number>): Vma[] {
  const [maps, smaps] = ['maps', 'smaps'].map((name) => readProc(`/proc/self/${name}`) ?? Buffer.alloc(0))
  const all = addVmFlags(parseMaps(maps ?? Buffer.alloc(0), SIZE), smaps ?? Buffer.alloc(0), SIZE)
  return all.filter((vma) =>
    [...mapped].some(([page, pages]) => vma.startPage < page + pages && vma.endPage > page),
  )
}

function protect(watched: ReadonlySet<Vma>): void {
  const protector = new PagemapProtector(process.pid, probeKernel())
  try {
    for (const { startPage, endPage } of watched)
      protector.protect(startPage, endPage, SEGMENT_CLASS.anonymous, () => undefined)
  } finally {
    protector.close()
  }
}

function look({ dirtyBit }: Tracker, page: number, pages: number): number[] {
  const source = openPagemap(process.pid, probeKernel(), dirtyBit)
  const ranges = allocateRanges(pages)
  try {
    source.scan(page, page + pages, SEGMENT_CLASS.anonymous, ranges)
  } finally {
    source.close()
  }
  const dirty: number[] = []
  for (let row = 0; row < ranges.count; row++) {
    if (((ranges.flags[row] ?? 0) & RANGE_DIRTY) === 0) continue
    for (let at = ranges.startPage[row] ?? 0; at < (ranges.endPage[row] ?? 0); at++) dirty.push(at)
  }
  return dirty
}
