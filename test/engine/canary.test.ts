import { describe, expect, it } from '@jest/globals'
import { allocateBitmap, setBits } from '../../src/core/bitmap.js'
import { chunkDirectory, CHUNK_PAGES, slotCount, slotOfPage } from '../../src/core/chunks.js'
import { canaryObjection, chooseCanary, type CanaryPage, type ScannedBits } from '../../src/engine/canary.js'
import { vmaOfLine } from '../core/builders.js'

const PAGE = 4096
const FIRST = 0x7000_0000_0000 / PAGE
const RELRO = vmaOfLine('700000000000-700000040000 r--p 00000000 08:01 99 /lib/libc.so', 'rd mr mw me')
const HEAP = vmaOfLine('700000100000-700000200000 rw-p 00000000 00:00 0 [heap]', 'rd wr mr mw me')
const STACK = vmaOfLine('700000300000-700000340000 rw-p 00000000 00:00 0 [stack]', 'rd wr mr mw me gd')
const LARGE = vmaOfLine('700000800000-700000a00000 rw-p 00000000 00:00 0', 'rd wr mr mw me')
const ALL = [RELRO, HEAP, STACK, LARGE]

/** Bits of a scan that found every page of ALL but those of `absent`, none of them dirty. */
function scan(absent: readonly number[] = []): ScannedBits {
  const chunks = chunkDirectory(ALL.map(({ startPage }) => Math.floor(startPage / CHUNK_PAGES)))
  const present = allocateBitmap(slotCount(chunks))
  for (const { startPage, endPage } of ALL)
    setBits(present, slotOfPage(chunks, startPage), slotOfPage(chunks, endPage - 1) + 1)
  for (const page of absent) {
    const slot = slotOfPage(chunks, page)
    present[Math.floor(slot / 32)] = (present[Math.floor(slot / 32)] ?? 0) & ~(1 << (slot % 32))
  }
  return { chunks, present, dirty: allocateBitmap(slotCount(chunks)) }
}

/** The same with just `pages` dirty. */
function dirtied(pages: readonly number[]): ScannedBits {
  const found = scan()
  for (const page of pages)
    setBits(found.dirty, slotOfPage(found.chunks, page), slotOfPage(found.chunks, page) + 1)
  return found
}

function pagesOf(canary: readonly CanaryPage[]): number[] {
  return canary.map(({ page }) => page)
}

describe('a canary', () => {
  it('for soft-dirty is of pages that the program cannot write, some of them rewritten', () => {
    const canary = chooseCanary('soft-dirty', ALL, scan())
    expect(new Set(pagesOf(canary)).size).toBe(16)
    expect(pagesOf(canary).every((page) => page >= FIRST && page < RELRO.endPage)).toBe(true)
    expect(canary.some(({ rewritten }) => rewritten)).toBe(true)
  })

  it('for a program without such pages is of those of small anonymous VMAs, all rewritten', () => {
    for (const [tracker, vmas] of [
      ['soft-dirty', [HEAP, STACK, LARGE]],
      ['uffd-wp', ALL],
    ] as const) {
      const canary = chooseCanary(tracker, vmas, scan())
      expect(new Set(pagesOf(canary)).size).toBe(16)
      expect(canary.every(({ rewritten }) => rewritten)).toBe(true)
      expect(pagesOf(canary).every((page) => page >= HEAP.startPage && page < STACK.endPage)).toBe(true)
    }
  })

  it('is drawn by lot, of all VMAs and of all pages', () => {
    const draws = Array.from({ length: 40 }, () => pagesOf(chooseCanary('uffd-wp', ALL, scan())))
    expect(new Set(draws.map(String)).size).toBeGreaterThan(35)
    const drawn = new Set(draws.flat())
    expect(drawn.size).toBeGreaterThan(80)
    expect(
      [HEAP, STACK].every((vma) => [...drawn].some((page) => page >= vma.startPage && page < vma.endPage)),
    ).toBe(true)
  })

  it('is of every page where there are few, and of none that is not there', () => {
    const absent = Array.from({ length: 64 }, (_, index) => STACK.startPage + index).slice(2)
    expect(pagesOf(chooseCanary('uffd-wp', [STACK], scan(absent))).sort()).toEqual([
      STACK.startPage,
      STACK.startPage + 1,
    ])
    expect(chooseCanary('soft-dirty', [LARGE], scan())).toEqual([])
  })

  it('for soft-dirty is of no VMA that a userfaultfd watches, or of which that is not known', () => {
    const watched = ['uw', 'um', 'ui'].map((flag) => ({ ...HEAP, flags: new Set(['rd', 'wr', flag]) }))
    expect(chooseCanary('soft-dirty', [...watched, { ...STACK, flags: undefined }], scan())).toEqual([])
  })
})

describe('what a canary says', () => {
  const canary = chooseCanary('soft-dirty', [HEAP, STACK], scan())

  it('is nothing while all that was rewritten is dirty, whatever else is', () => {
    expect(canaryObjection('soft-dirty', canary, dirtied([...pagesOf(canary), HEAP.startPage]))).toBe('')
  })

  it('is that others have reset the bits where one is clean', () => {
    const [, ...others] = pagesOf(canary)
    expect(canaryObjection('soft-dirty', canary, dirtied(others))).toContain('reset by another program')
    expect(canaryObjection('uffd-wp', canary, dirtied([]))).toContain('reset by another program')
  })

  it('is that nothing is known where none of it is left', () => {
    expect(canaryObjection('soft-dirty', canary, scan(pagesOf(canary)))).toContain('no page is left')
  })
})
