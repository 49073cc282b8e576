/**
 * The private anonymous regions of the `hard` victim.
 */
import { PAGE_SIZE } from './content.js'
import { mremap } from './libc.js'
import {
  ADVICE,
  advisePages,
  fill,
  fillPart,
  HUGE_PAGES,
  MAP,
  mapAligned,
  mapPages,
  PROT,
  protectPages,
  readPages,
  tryAdvise,
  zeroPages,
} from './memory.js'
import {
  allStored,
  type Attempt,
  eitherStored,
  noneStored,
  optionalRegion,
  type PageRun,
  type Region,
  someStored,
} from './regions.js'

const SEED = 1
const PRIVATE_ANONYMOUS = MAP.PRIVATE + MAP.ANONYMOUS
const MREMAP_MAYMOVE = 1
const MREMAP_FIXED = 2
const LOCKED_PAGES = 16

function filled(pages: number): number {
  const address = mapPages(pages)
  tryAdvise(address, pages, ADVICE.NOHUGEPAGE)
  fill(address, pages, SEED)
  return address
}

function filledThenProtected(name: string, pages: number, protection: number): Region {
  const address = filled(pages)
  protectPages(address, pages, protection)
  return allStored(name, address, pages)
}

/** Data behind every protection, and four protections side by side without a gap. */
export function protectionRegions(): readonly Region[] {
  const neighbours = filled(32)
  protectPages(neighbours + 8 * PAGE_SIZE, 8, PROT.READ)
  protectPages(neighbours + 16 * PAGE_SIZE, 8, PROT.NONE)
  protectPages(neighbours + 24 * PAGE_SIZE, 8, PROT.READ_EXEC)
  return [
    filledThenProtected('prot-none', 16, PROT.NONE),
    filledThenProtected('read-only', 16, PROT.READ),
    filledThenProtected('write-only', 16, PROT.WRITE),
    filledThenProtected('executable', 16, PROT.READ_EXEC),
    filledThenProtected('all-rights', 16, PROT.ALL),
    allStored('neighbours', neighbours, 32),
    noneStored('prot-none-untouched', mapPages(64, { protection: PROT.NONE }), 64),
  ]
}

/** Memory never touched, only read, or full of written zeros. */
export function emptyRegions(): readonly Region[] {
  const read = mapPages(32)
  tryAdvise(read, 32, ADVICE.NOHUGEPAGE)
  readPages(read, 32)
  const zeros = mapPages(8)
  tryAdvise(zeros, 8, ADVICE.NOHUGEPAGE)
  zeroPages(zeros, 8)
  return [
    noneStored('untouched', mapPages(64, { flags: PRIVATE_ANONYMOUS + MAP.NORESERVE }), 64),
    noneStored('only-read', read, 32),
    allStored('written-zeros', zeros, 8),
  ]
}

/** A filled huge page region, and one that was only read. */
export function hugeRegions(): readonly Region[] {
  const huge = mapAligned(2 * HUGE_PAGES, HUGE_PAGES)
  tryAdvise(huge, 2 * HUGE_PAGES, ADVICE.HUGEPAGE)
  fill(huge, 2 * HUGE_PAGES, SEED)
  const zero = mapAligned(2 * HUGE_PAGES, HUGE_PAGES)
  tryAdvise(zero, 2 * HUGE_PAGES, ADVICE.HUGEPAGE)
  readPages(zero, 2 * HUGE_PAGES)
  return [allStored('huge', huge, 2 * HUGE_PAGES), eitherStored('huge-zero', zero, 2 * HUGE_PAGES)]
}

/** Pages taken away again: dropped, freed lazily, moved. */
export function changedRegions(): readonly Region[] {
  const holes = filled(64)
  advisePages(holes + 10 * PAGE_SIZE, 10, ADVICE.DONTNEED)
  advisePages(holes + 33 * PAGE_SIZE, 1, ADVICE.DONTNEED)
  const freed = filled(16)
  advisePages(freed, 16, ADVICE.FREE)
  const length = 16 * PAGE_SIZE
  const from = filled(16)
  const moved = mremap(from, length, length, MREMAP_MAYMOVE + MREMAP_FIXED, mapPages(16))
  return [
    someStored('dontneed-holes', holes, 64, [
      [0, 10],
      [20, 13],
      [34, 30],
    ]),
    eitherStored('freed', freed, 16),
    allStored('moved', moved, 16),
  ]
}

/** Flags of a VMA that change nothing about what is stored. */
export function flaggedRegions(): readonly Region[] {
  const dontFork = filled(8)
  advisePages(dontFork, 8, ADVICE.DONTFORK)
  const wipeOnFork = filled(8)
  advisePages(wipeOnFork, 8, ADVICE.WIPEONFORK)
  const growsDown = mapPages(16, { flags: PRIVATE_ANONYMOUS + MAP.GROWSDOWN })
  fill(growsDown, 16, SEED)
  return [
    allStored('dontfork', dontFork, 8),
    allStored('wipeonfork', wipeOnFork, 8),
    allStored('growsdown', growsDown, 16),
  ]
}

/** Guard pages in the middle of data; without them (before Linux 6.13) plain data. */
export function guardRegions(): Attempt {
  return optionalRegion('guard pages', () => {
    const address = filled(64)
    advisePages(address + 16 * PAGE_SIZE, 16, ADVICE.GUARD_INSTALL)
    return someStored('guarded', address, 64, [
      [0, 16],
      [32, 32],
    ])
  })
}

/** One page just below the end of the address space, and one at its beginning. */
export function extremeRegions(): readonly Attempt[] {
  const flags = PRIVATE_ANONYMOUS + MAP.FIXED_NOREPLACE
  const onePageAt = (name: string, at: number): Region => {
    const address = mapPages(1, { at, flags })
    fill(address, 1, SEED)
    return allStored(name, address, 1)
  }
  return [
    optionalRegion('high page', () => onePageAt('high-page', 0x7ffffffff000 - PAGE_SIZE)),
    optionalRegion('low page', () => onePageAt('low-page', 0x10000)),
  ]
}

/** Runs of 31, 32 and 33 pages and of one page, on and across the borders of 32-page words and 4096-page chunks. */
export function patternRegion(): Region {
  const chunk = 4096
  const pages = 3 * chunk
  const address = mapAligned(pages, chunk, { flags: PRIVATE_ANONYMOUS + MAP.NORESERVE })
  tryAdvise(address, pages, ADVICE.NOHUGEPAGE)
  const everyOther = Array.from({ length: 64 }, (_, index): PageRun => [2 * index, 1])
  const runs: readonly PageRun[] = [
    ...everyOther,
    [256, 32],
    [289, 31],
    [321, 33],
    [383, 2],
    [416, 31],
    [448, 33],
    [chunk - 16, 31],
    [chunk + 32, 32],
    [2 * chunk - 1, 33],
    [2 * chunk + 64, 32 * 3],
    [3 * chunk - 1, 1],
  ]
  for (const [first, count] of runs) fillPart(address, first, count, SEED)
  return someStored('patterns', address, pages, runs)
}

/** Pages locked into memory, where the limit on locked memory allows it. */
export function lockedRegion(lock: (address: number, byteLength: number) => void): Attempt {
  return optionalRegion('mlock', () => {
    const address = filled(LOCKED_PAGES)
    lock(address, LOCKED_PAGES * PAGE_SIZE)
    return allStored('locked', address, LOCKED_PAGES)
  })
}
