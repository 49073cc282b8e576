/**
 * What pagemap says of each page of a VMA, and what follows from it. Part of the oracle.
 *
 *   bit    63       62        61                    58           57                56..55   54..0
 *          present  swapped   file or shared anon.  guard page   uffd write-prot.           PFN, or swap type 0..4
 *                                                                                           and offset 5..54
 *
 * PFNs and swap places read as zero without CAP_SYS_ADMIN. source: Documentation/admin-guide/mm/pagemap.rst
 */
import { readSync } from 'node:fs'
import { type KernelVma, pageSize } from './kernel-vmas.js'
import { populatedRanges } from './populated-ranges.js'
import { zeroFrames } from './zero-frames.js'

/** What the oracle thinks of a page that is not simply absent. */
export type Fate = 'required' | 'optional'

/** Open descriptors of two files of one process in /proc. */
export interface TaskFiles {
  readonly pagemap: number
  readonly memory: number
}

const PRESENT = 2 ** 31
const SWAPPED = 2 ** 30
const FILE = 2 ** 29
const GUARD = 2 ** 26
const WRITE_PROTECTED = 2 ** 25
const FRAME_HIGH = 2 ** 23
const TWO_TO_32 = 2 ** 32

/** Swap type of a marker, which holds no content: the last of 32. source: include/linux/swap.h, SWP_PTE_MARKER */
const MARKER_TYPE = 31
const MARKER_GUARD = 4

const ENTRIES_PER_READ = 2 ** 16

/** Above this size a VMA's populated parts are asked for first; reading 20 TiB entry by entry takes a minute. */
const HUGE_VMA_PAGES = 2 ** 22

/**
 * Calls `visit` for each page of `vma` that a snapshot must or may hold, in ascending order.
 *
 * @param ring - the VMA is an AIO ring: its present pages are required, the others optional
 */
export function pageFates(
  files: TaskFiles,
  vma: KernelVma,
  ring: boolean,
  visit: (page: number, fate: Fate) => void,
): void {
  const { pagemap, memory } = files
  const huge = vma.endPage - vma.startPage > HUGE_VMA_PAGES
  const ranges = (huge ? populatedRanges(pagemap, vma) : undefined) ?? [vma]
  for (const range of ranges) {
    forEntries(pagemap, range.startPage, range.endPage, (page, low, high) => {
      const fate = ring ? ringFate(high) : fateOf(vma, { page, low, high }, memory)
      if (fate !== 'absent') visit(page, fate)
    })
  }
}

function ringFate(high: number): Fate {
  return has(high, PRESENT) ? 'required' : 'optional'
}

interface Entry {
  readonly page: number
  readonly low: number
  readonly high: number
}

function fateOf(vma: KernelVma, { page, low, high }: Entry, memory: number): Fate | 'absent' {
  if (has(high, GUARD)) return 'absent'
  if (vma.fileBacked && has(high, FILE)) return 'absent'
  const frame = low + (high % FRAME_HIGH) * TWO_TO_32
  if (has(high, PRESENT)) return presentFate(frame, has(high, FILE))
  if (!has(high, SWAPPED)) return 'absent'
  if (frame === 0) return swappedFateWithoutPrivilege(page, high, memory)
  if (frame % 32 !== MARKER_TYPE) return 'required'
  return Math.floor(frame / 32) % (2 * MARKER_GUARD) >= MARKER_GUARD ? 'absent' : 'optional'
}

/** In anonymous memory only the huge zero page has the file bit. Without frames any page may be the zero page. */
function presentFate(frame: number, isFile: boolean): Fate | 'absent' {
  const { zero, hugeZero, hugeZeroPages } = zeroFrames()
  if (frame === 0) return isFile ? 'optional' : 'required'
  if (frame === zero) return 'absent'
  return hugeZero !== 0 && frame >= hugeZero && frame < hugeZero + hugeZeroPages ? 'optional' : 'required'
}

/** Swapped, place unknown: a guard page of Linux 6.13 and 6.14 cannot be read; a write-protection marker may be empty. */
function swappedFateWithoutPrivilege(page: number, high: number, memory: number): Fate | 'absent' {
  if (has(high, WRITE_PROTECTED)) return 'optional'
  try {
    return readSync(memory, Buffer.alloc(1), 0, 1, page * pageSize()) === 1 ? 'required' : 'absent'
  } catch {
    return 'absent'
  }
}

/** Whether the power of two `bit` is set in the high word of an entry. */
function has(high: number, bit: number): boolean {
  return Math.floor(high / bit) % 2 === 1
}

const words = new Uint32Array(2 * ENTRIES_PER_READ)

/** Calls `visit` with both words of each pagemap entry in `[startPage, endPage)`. */
function forEntries(
  pagemap: number,
  startPage: number,
  endPage: number,
  visit: (page: number, low: number, high: number) => void,
): void {
  let page = startPage
  while (page < endPage) {
    const wanted = Math.min(ENTRIES_PER_READ, endPage - page)
    const bytes = readSync(pagemap, words, 0, 8 * wanted, 8 * page)
    const count = Math.floor(bytes / 8)
    if (count === 0) throw new Error(`pagemap ends at page ${page}`)
    for (let index = 0; index < count; index += 1) {
      visit(page + index, words[2 * index] ?? 0, words[2 * index + 1] ?? 0)
    }
    page += count
  }
}
