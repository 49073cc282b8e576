/**
 * Victim: many private anonymous VMAs, all filled.
 *
 *   --vmas N --pages-per-vma M    N VMAs of M pages (10 x 16)
 *   --gap                         an unmapped page between neighbours; else they touch, rw- and rwx in turn
 *   --thp                         huge pages; else none
 *   --seed S                      seed of the first content (1)
 *   --fill WHAT                   all (the default), every-other page, scattered: a random quarter of the pages, mostly-zero:
 *                                 one page in eight, and zeros written over the others
 *
 *   without --gap   |rw- 0|rwx 1|rw- 2|rwx 3|       with --gap   |rw- 0| |rw- 1| |rw- 2|
 *
 * Commands: `touch [seed]` rewrites all pages, `write N [seed]` N pages spread evenly, `discard N` drops N pages
 * spread evenly (MADV_DONTNEED), `dense N [seed]` rewrites the first N pages, `unmap I` VMA I, `move I` moves VMA I elsewhere, `map PAGES [seed]` maps a
 * new filled VMA, `checksum` tells the SHA-256 of all VMAs in their order, `fork` makes a child that pauses.
 */
import { createHash } from 'node:crypto'
import { parseArgs } from 'node:util'
import { PAGE_SIZE, randomWords } from './content.js'
import { copyOut, mremap } from './libc.js'
import {
  ADVICE,
  advisePages,
  fill,
  hex,
  HUGE_PAGES,
  mapAligned,
  mapPages,
  PROT,
  protectPages,
  tryAdvise,
  unmapPages,
  zeroPages,
} from './memory.js'
import { startPausedChild } from './processes.js'
import { numberWord, serve } from './session.js'

const MREMAP_MAYMOVE = 1
const MREMAP_FIXED = 2

const { values } = parseArgs({
  options: {
    vmas: { type: 'string', default: '10' },
    'pages-per-vma': { type: 'string', default: '16' },
    seed: { type: 'string', default: '1' },
    gap: { type: 'boolean', default: false },
    thp: { type: 'boolean', default: false },
    fill: { type: 'string', default: 'all' },
  },
})
const vmaCount = Number(values.vmas)
const pagesPerVma = Number(values['pages-per-vma'])
const seed = Number(values.seed)
const stridePages = !values.gap
  ? pagesPerVma
  : values.thp
    ? Math.ceil((pagesPerVma + 1) / HUGE_PAGES) * HUGE_PAGES
    : pagesPerVma + 1
const totalPages = vmaCount * pagesPerVma

function build(): number {
  const spanPages = vmaCount * stridePages
  const start = mapAligned(spanPages, HUGE_PAGES)
  tryAdvise(start, spanPages, values.thp ? ADVICE.HUGEPAGE : ADVICE.NOHUGEPAGE)
  for (let index = 0; index < vmaCount; index += 1) {
    const vma = start + index * stridePages * PAGE_SIZE
    if (values.gap) unmapPages(vma + pagesPerVma * PAGE_SIZE, stridePages - pagesPerVma)
    else if (index % 2 === 1) protectPages(vma, pagesPerVma, PROT.ALL)
  }
  return start
}

const start = build()
const addresses = Array.from({ length: vmaCount }, (_, index) => start + index * stridePages * PAGE_SIZE)

function forSpreadPages(count: number, action: (address: number) => void): { pages: number; micros: number } {
  const begun = process.hrtime.bigint()
  const wanted = Math.min(count, totalPages)
  let done = 0
  for (let index = 0; index < wanted; index += 1) {
    const place = Math.floor((index * totalPages) / wanted)
    const vma = addresses[Math.floor(place / pagesPerVma)]
    if (vma === undefined || vma < 0) continue
    action(vma + (place % pagesPerVma) * PAGE_SIZE)
    done += 1
  }
  return { pages: done, micros: Number(process.hrtime.bigint() - begun) / 1000 }
}

/** Fills the first `count` pages. */
function fillFirst(count: number, content: number): { pages: number; micros: number } {
  const begun = process.hrtime.bigint()
  let left = Math.min(count, totalPages)
  const pages = left
  for (const address of addresses) {
    const here = Math.min(left, pagesPerVma)
    if (here === 0 || address < 0) break
    fill(address, here, content)
    left -= here
  }
  return { pages, micros: Number(process.hrtime.bigint() - begun) / 1000 }
}

function vmaOf(words: readonly string[]): { readonly index: number; readonly address: number } {
  const index = numberWord(words, 0, 0)
  const address = addresses[index]
  if (address === undefined || address < 0) throw new Error(`no VMA ${index}`)
  return { index, address }
}

function fillAll(content: number): { pages: number } {
  let pages = 0
  for (const address of addresses) {
    if (address < 0) continue
    fill(address, pagesPerVma, content)
    pages += pagesPerVma
  }
  return { pages }
}

function checksum(): { sha256: string } {
  const hash = createHash('sha256')
  const content = Buffer.alloc(pagesPerVma * PAGE_SIZE)
  for (const address of addresses) {
    if (address < 0) continue
    copyOut(content, address, content.byteLength)
    hash.update(content)
  }
  return { sha256: hash.digest('hex') }
}

/** Fills the pages at `address` for which `isFilled` holds. */
function fillSome(address: number, isFilled: (page: number) => boolean): void {
  for (let page = 0; page < pagesPerVma; page += 1) {
    if (isFilled(page)) fill(address + page * PAGE_SIZE, 1, seed)
  }
}

function fillSparsely(what: string): void {
  const next = randomWords(seed)
  for (const address of addresses) {
    switch (what) {
      case 'every-other':
        fillSome(address, (page) => page % 2 === 0)
        break
      case 'scattered':
        fillSome(address, () => next() % 4 === 0)
        break
      case 'mostly-zero':
        zeroPages(address, pagesPerVma)
        fillSome(address, (page) => page % 8 === 0)
        break
      default:
        throw new Error(`no --fill ${what}`)
    }
  }
}

if (values.fill !== 'all') fillSparsely(values.fill)
else if (values.gap) fillAll(seed)
else fill(start, totalPages, seed)

serve(
  { start: hex(start), vmas: vmaCount, pagesPerVma, stridePages, totalPages, seed },
  {
    touch: (words) => fillAll(numberWord(words, 0, seed + 1)),
    write: (words) => {
      const content = numberWord(words, 1, seed + 1)
      return forSpreadPages(numberWord(words, 0, 1), (address) => {
        fill(address, 1, content)
      })
    },
    dense: (words) => fillFirst(numberWord(words, 0, 1), numberWord(words, 1, seed + 1)),
    discard: (words) =>
      forSpreadPages(numberWord(words, 0, 1), (address) => {
        advisePages(address, 1, ADVICE.DONTNEED)
      }),
    unmap: (words) => {
      const { index, address } = vmaOf(words)
      unmapPages(address, pagesPerVma)
      addresses[index] = -1
      return { index, start: hex(address) }
    },
    move: (words) => {
      const { index, address } = vmaOf(words)
      const target = mapPages(pagesPerVma)
      const length = pagesPerVma * PAGE_SIZE
      addresses[index] = mremap(address, length, length, MREMAP_MAYMOVE + MREMAP_FIXED, target)
      return { index, from: hex(address), to: hex(target) }
    },
    map: (words) => {
      const pages = numberWord(words, 0, pagesPerVma)
      const address = mapPages(pages)
      fill(address, pages, numberWord(words, 1, seed))
      return { start: hex(address), pages }
    },
    checksum,
    fork: () => ({ pid: startPausedChild() }),
  },
)
