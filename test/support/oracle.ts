/**
 * What a snapshot of a stopped process must hold, worked out the slow and obvious way: page by page, from
 * /proc alone, without a line of the code under test.
 *
 *   smaps      which VMAs there are, and their flags          kernel-vmas.ts
 *   pagemap    what each page is                              kernel-pages.ts
 *   mem        what each page holds                           compareWithProcess
 *
 * The rules are CRIU's. source: criu/mem.c, should_dump_page
 */
import { closeSync, openSync, readSync } from 'node:fs'
import { pageFates, type TaskFiles } from './kernel-pages.js'
import { type KernelVma, pageSize, readVmas, taskDirectory } from './kernel-vmas.js'

/** Page numbers (address / page size) of a process, as a snapshot must or may hold them. */
export interface ExpectedPages {
  /** Ascending. */
  readonly required: readonly number[]
  /** Pages that may be stored or not. */
  readonly optional: ReadonlySet<number>
}

/** A snapshot, as the oracle asks it. */
export interface SnapshotReader {
  /** Content of a stored page. */
  readonly readPage: (page: number) => Uint8Array | undefined
  /** Numbers of all pages that the snapshot lists, in any order. */
  readonly storedPages: () => Iterable<number>
}

/** What {@link compareWithProcess} found; each list is in ascending order. */
export interface Comparison {
  /** Number of pages whose bytes were compared. */
  readonly compared: number
  /** Stored with other bytes than the process has. */
  readonly differing: readonly number[]
  /** Required and not stored, or listed without content. */
  readonly missing: readonly number[]
  /** Stored, and neither required nor optional. */
  readonly extra: readonly number[]
}

const PIECE_PAGES = 256

/** What a snapshot of `pid` must hold. Every thread of `pid` must be stopped. */
export function expectedPages(pid: number): ExpectedPages {
  const directory = taskDirectory(pid)
  const files = { pagemap: openSync(`${directory}/pagemap`, 'r'), memory: openSync(`${directory}/mem`, 'r') }
  try {
    return judge(readVmas(pid), files)
  } finally {
    closeSync(files.pagemap)
    closeSync(files.memory)
  }
}

function judge(vmas: readonly KernelVma[], files: TaskFiles): ExpectedPages {
  const required: number[] = []
  const optional = new Set<number>()
  for (const vma of vmas) {
    const treatment = treatmentOf(vma)
    if (treatment === 'never') continue
    if (treatment === 'whole') {
      for (let page = vma.startPage; page < vma.endPage; page += 1) required.push(page)
      continue
    }
    pageFates(files, vma, treatment === 'ring', (page, fate) => {
      if (fate === 'required') required.push(page)
      else optional.add(page)
    })
  }
  return { required, optional }
}

/** Compares a snapshot with the stopped process `pid`, page by page. */
export function compareWithProcess(pid: number, reader: SnapshotReader): Comparison {
  const { required, optional } = expectedPages(pid)
  const stored = [...new Set(reader.storedPages())].sort((a, b) => a - b)
  const storedSet = new Set(stored)
  const requiredSet = new Set(required)
  const missing = required.filter((page) => !storedSet.has(page))
  const extra = stored.filter((page) => !requiredSet.has(page) && !optional.has(page))
  const common = stored.filter((page) => requiredSet.has(page) || optional.has(page))
  const differing: number[] = []
  const bytes = pageSize()
  const fd = openSync(`${taskDirectory(pid)}/mem`, 'r')
  try {
    forPieces(common, (firstPage, pages) => {
      const truth = readMemory(fd, firstPage, pages)
      for (let index = 0; index < pages; index += 1) {
        const content = reader.readPage(firstPage + index)
        if (content === undefined) missing.push(firstPage + index)
        else if (!truth.subarray(index * bytes, (index + 1) * bytes).equals(content))
          differing.push(firstPage + index)
      }
    })
  } finally {
    closeSync(fd)
  }
  return { compared: common.length, differing, missing: missing.sort((a, b) => a - b), extra }
}

/** Calls `use` with a function that reads pages of `pid`, stopped or not, each into a fresh buffer. */
export function withProcessPages<Result>(
  pid: number,
  use: (readPage: (page: number) => Buffer) => Result,
): Result {
  const fd = openSync(`${taskDirectory(pid)}/mem`, 'r')
  try {
    return use((page) => Buffer.from(readMemory(fd, page, 1)))
  } finally {
    closeSync(fd)
  }
}

/** Content of one page of `pid`, stopped or not. */
export function readProcessPage(pid: number, page: number): Buffer {
  return withProcessPages(pid, (readPage) => readPage(page))
}

/** How the pages of a VMA are judged: not at all, all of them stored, all present ones, or each by its own bits. */
function treatmentOf(vma: KernelVma): 'never' | 'whole' | 'ring' | 'by-page' {
  if (vma.path === '[vdso]') return 'whole'
  if (['[vvar]', '[vvar_vclock]', '[vsyscall]', '[uprobes]'].includes(vma.path)) return 'never'
  if (['io', 'pf', 'dp'].some((flag) => vma.flags.has(flag))) return 'never'
  if (vma.path.startsWith('/[aio]')) return 'ring'
  return vma.shared ? 'never' : 'by-page'
}

/** Calls `visit` with runs of consecutive pages, none longer than a mebibyte. `pages` is ascending. */
function forPieces(pages: readonly number[], visit: (firstPage: number, count: number) => void): void {
  let index = 0
  while (index < pages.length) {
    const first = pages[index] ?? 0
    let count = 1
    while (count < PIECE_PAGES && pages[index + count] === first + count) count += 1
    visit(first, count)
    index += count
  }
}

const piece = Buffer.alloc(PIECE_PAGES * pageSize())

/** The bytes of `pages` pages, valid until the next call. Throws where the kernel gives fewer. */
function readMemory(fd: number, firstPage: number, pages: number): Buffer {
  const bytes = pages * pageSize()
  let done = 0
  while (done < bytes) {
    const count = readSync(fd, piece, done, bytes - done, firstPage * pageSize() + done)
    if (count === 0) throw new Error(`cannot read page ${String(firstPage + Math.floor(done / pageSize()))}`)
    done += count
  }
  return piece.subarray(0, bytes)
}
