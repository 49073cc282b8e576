/**
 * Memory as the victims make it: mappings counted in pages, filled with the content of content.ts.
 */
import { BLOCK_PAGES, PAGE_SIZE, patternBlock, stampPages } from './content.js'
import { copyIn, copyOut, madvise, mmap, mprotect, munmap } from './libc.js'

/** Protections of a mapping. source: include/uapi/asm-generic/mman-common.h */
export const PROT = { NONE: 0, READ: 1, WRITE: 2, READ_WRITE: 3, EXEC: 4, READ_EXEC: 5, ALL: 7 } as const

/** Flags of mmap. source: include/uapi/linux/mman.h, include/uapi/asm-generic/mman-common.h */
export const MAP = {
  SHARED: 0x01,
  PRIVATE: 0x02,
  DROPPABLE: 0x08,
  FIXED: 0x10,
  ANONYMOUS: 0x20,
  GROWSDOWN: 0x100,
  NORESERVE: 0x4000,
  HUGETLB: 0x40000,
  FIXED_NOREPLACE: 0x100000,
} as const

/** Advice to madvise. source: include/uapi/asm-generic/mman-common.h */
export const ADVICE = {
  DONTNEED: 4,
  FREE: 8,
  DONTFORK: 10,
  HUGEPAGE: 14,
  NOHUGEPAGE: 15,
  WIPEONFORK: 18,
  GUARD_INSTALL: 102,
} as const

/** Pages in a huge page of 2 MiB. */
export const HUGE_PAGES = 512

const PRIVATE_ANONYMOUS = MAP.PRIVATE + MAP.ANONYMOUS

/** How {@link mapPages} makes a mapping; private anonymous memory, read and write, at any place unless said. */
export interface Mapping {
  readonly protection?: number
  readonly flags?: number
  readonly fd?: number
  /** Offset into the file, in pages. */
  readonly filePage?: number
  /** Address asked for; binding only with MAP.FIXED or MAP.FIXED_NOREPLACE. */
  readonly at?: number
}

/** Maps `pages` pages and returns their address. */
export function mapPages(pages: number, mapping: Mapping = {}): number {
  const { protection = PROT.READ_WRITE, flags = PRIVATE_ANONYMOUS, fd = -1, filePage = 0, at = 0 } = mapping
  return mmap(at, pages * PAGE_SIZE, protection, flags, fd, filePage * PAGE_SIZE)
}

/** Maps `pages` pages of private anonymous memory whose address is a multiple of `alignPages` pages. */
export function mapAligned(pages: number, alignPages: number, mapping: Mapping = {}): number {
  const align = alignPages * PAGE_SIZE
  const room = mapPages(pages + alignPages, mapping)
  const start = Math.ceil(room / align) * align
  const end = start + pages * PAGE_SIZE
  if (start > room) munmap(room, start - room)
  const roomEnd = room + (pages + alignPages) * PAGE_SIZE
  if (roomEnd > end) munmap(end, roomEnd - end)
  return start
}

let block: Buffer | undefined

/** Fills `pages` pages at `address` (writable, on a page border) with the content of `seed`. */
export function fill(address: number, pages: number, seed: number): void {
  block ??= patternBlock()
  const firstPage = address / PAGE_SIZE
  let page = firstPage
  while (page < firstPage + pages) {
    const slot = page % BLOCK_PAGES
    const count = Math.min(BLOCK_PAGES - slot, firstPage + pages - page)
    stampPages(block, page, count, seed)
    copyIn(page * PAGE_SIZE, block.subarray(slot * PAGE_SIZE), count * PAGE_SIZE)
    page += count
  }
}

/** Fills pages `first` up to `first + pages`, exclusive, of the mapping at `start`. */
export function fillPart(start: number, first: number, pages: number, seed: number): void {
  fill(start + first * PAGE_SIZE, pages, seed)
}

/** Reads a byte of each of `pages` pages at `address`, so that the kernel maps them, and writes nothing. */
export function readPages(address: number, pages: number): void {
  const scratch = Buffer.alloc(8)
  for (let page = 0; page < pages; page += 1) copyOut(scratch, address + page * PAGE_SIZE, 1)
}

/** Writes zeros over `pages` pages at `address`. */
export function zeroPages(address: number, pages: number): void {
  copyIn(address, Buffer.alloc(pages * PAGE_SIZE), pages * PAGE_SIZE)
}

/** mprotect, in pages. */
export function protectPages(address: number, pages: number, protection: number): void {
  mprotect(address, pages * PAGE_SIZE, protection)
}

/** munmap, in pages. */
export function unmapPages(address: number, pages: number): void {
  munmap(address, pages * PAGE_SIZE)
}

/** madvise, in pages. */
export function advisePages(address: number, pages: number, advice: number): void {
  madvise(address, pages * PAGE_SIZE, advice)
}

/** Whether the kernel accepted `advice`; for advice that a kernel may lack. */
export function tryAdvise(address: number, pages: number, advice: number): boolean {
  return attempt(() => {
    advisePages(address, pages, advice)
  })
}

/** Whether `action` went through without an error. */
export function attempt(action: () => void): boolean {
  try {
    action()
    return true
  } catch {
    return false
  }
}

/** `address` as facts carry it, e.g. `0x7f0000001000`. */
export function hex(address: number): string {
  return `0x${address.toString(16)}`
}
