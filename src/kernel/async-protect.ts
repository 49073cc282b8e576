/** Whether asynchronous write protection works here: shown on memory of our own, by a round trip. */
import { closeSync } from 'node:fs'
import { allocateRanges, RANGE_DIRTY } from '../core/page-ranges.js'
import { SEGMENT_CLASS } from '../core/segments.js'
import { MAP_PRIVATE_ANONYMOUS, PROT_READ_WRITE, SYS, UFFD_FLAGS } from './abi.js'
import type { KernelFeatures } from './features.js'
import { memset, mmap, munmap, syscall } from './libc.js'
import { pageSize } from './page-size.js'
import { PagemapProtector } from './pagemap-protect.js'
import { PagemapScanner } from './pagemap-scan.js'
import { Userfaultfd } from './userfaultfd.js'

let known: boolean | undefined

/** Whether a write to a protected page shows, and a page that was not written stays clean. Probed at the first call. */
export function probeAsyncProtect(features: KernelFeatures): boolean {
  known ??= features.pagemapScan && roundTrip(features)
  return known
}

function roundTrip(features: KernelFeatures): boolean {
  const size = pageSize()
  const fd = syscall(SYS.userfaultfd, UFFD_FLAGS, 0, 0, 0, 0)
  if (fd < 0) return false
  const address = mmap(0, 2 * size, PROT_READ_WRITE, MAP_PRIVATE_ANONYMOUS, -1, 0)
  const page = address / size
  try {
    const uffd = new Userfaultfd(fd, fd, 0)
    uffd.enableAsyncWriteProtect()
    memset(address, 1, 2 * size)
    if (!uffd.register(page, page + 2)) return false
    protectOwn(features, page)
    memset(address, 2, size)
    return dirtyPages(features, page) === 1
  } catch {
    return false
  } finally {
    closeSync(fd)
    munmap(address, 2 * size)
  }
}

function protectOwn(features: KernelFeatures, page: number): void {
  const protector = new PagemapProtector(process.pid, features)
  try {
    protector.protect(page, page + 2, SEGMENT_CLASS.anonymous, () => undefined)
  } finally {
    protector.close()
  }
}

/** Dirty pages of the two at `page`; -1 where they are not the first ones. */
function dirtyPages(features: KernelFeatures, page: number): number {
  const scanner = new PagemapScanner(process.pid, features, 'written')
  const ranges = allocateRanges(4)
  try {
    scanner.scan(page, page + 2, SEGMENT_CLASS.anonymous, ranges)
  } finally {
    scanner.close()
  }
  let dirty = 0
  for (let row = 0; row < ranges.count; row++) {
    if (((ranges.flags[row] ?? 0) & RANGE_DIRTY) === 0) continue
    if (ranges.startPage[row] !== page) return -1
    dirty += (ranges.endPage[row] ?? 0) - page
  }
  return dirty
}
