/**
 * Markers: page table entries that hold no page, only a bit for later. A userfaultfd leaves them where it write-protects
 * what was never touched, or what was discarded. To every interface they look swapped out.
 *
 *   pagemap entry   63 present  62 swapped  57 write-protected   54..5 swap offset   4..0 swap type
 *   a marker        0           1           1                    1                   31
 *
 * To read one is to fault it in: it becomes a page, perhaps after a question to the process's own fault handler, which
 * answers when it likes. Type and offset are shown to CAP_SYS_ADMIN only.
 *
 * source: include/linux/swapops.h make_pte_marker_entry, include/linux/swap.h SWP_PTE_MARKER, fs/proc/task_mmu.c
 */
import { ENTRY_BYTES, PAGEMAP_HIGH } from './abi.js'
import { pread, syscallError } from './libc.js'

/** An entry's lower 32-bit word: type 31, offset 1 (PTE_MARKER_UFFD_WP). */
const MARKER_LOW = 31 + 32
/** Pages read by one call: 256 KiB of entries. */
const BLOCK_PAGES = 32_768

const entries = new Uint32Array(BLOCK_PAGES * 2)

/** Told of the pages [`start`, `end`), which are all markers or all not. */
export type SpanUse = (start: number, end: number, areMarkers: boolean) => void

/**
 * Tells markers from what is swapped out among the pages [`from`, `to`), in order. Needs CAP_SYS_ADMIN.
 *
 * @param fd - the open /proc/PID/pagemap
 */
export function siftMarkers(fd: number, from: number, to: number, use: SpanUse): void {
  let start = from
  let before = false
  for (let block = from; block < to; block += BLOCK_PAGES) {
    const pages = readEntries(fd, block, Math.min(BLOCK_PAGES, to - block))
    for (let index = 0; index < pages; index++) {
      const is = isMarker(index)
      if (is === before) continue
      if (block + index > start) use(start, block + index, before)
      start = block + index
      before = is
    }
  }
  if (to > start) use(start, to, before)
}

function isMarker(index: number): boolean {
  if (entries[2 * index] !== MARKER_LOW) return false
  const high = entries[2 * index + 1] ?? 0
  const { present, swapped, pfn } = PAGEMAP_HIGH
  return (high & (present | pfn)) === 0 && (high & swapped) !== 0
}

function readEntries(fd: number, page: number, pages: number): number {
  const length = pread(fd, entries, pages * ENTRY_BYTES, page * ENTRY_BYTES)
  if (length < 0) throw syscallError('pread', 'cannot read /proc/PID/pagemap')
  return length / ENTRY_BYTES
}
