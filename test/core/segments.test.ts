import { describe, expect, it } from '@jest/globals'
import fc from 'fast-check'
import { vmaFate, type StoreClass } from '../../src/core/fate.js'
import { buildSegments, firstSegmentAfter, SEGMENT_CLASS, type Segments } from '../../src/core/segments.js'
import type { Vma } from '../../src/core/vma.js'
import { vmaOfLine } from './builders.js'

const LINES: Readonly<Record<StoreClass, string>> = {
  anonymous: '0-1000 rw-p 00000000 00:00 0',
  'file-private': '0-1000 rw-p 00000000 fe:00 12 /usr/lib/libc.so',
  whole: '0-1000 r-xp 00000000 00:00 0 [vdso]',
  none: '0-1000 r--s 00000000 fe:00 13 /var/db',
}

function vmaAt(kind: StoreClass, startPage: number, endPage: number): Vma {
  return { ...vmaOfLine(LINES[kind]), startPage, endPage }
}

type Row = [start: number, end: number, storeClass: number]

function rowsOf(segments: Segments): Row[] {
  expect(segments.startPage).toHaveLength(segments.count)
  return [...segments.startPage].map((start, index): Row => [
    start,
    segments.endPage[index] ?? NaN,
    segments.storeClass[index] ?? NaN,
  ])
}

/** Address spaces of small VMAs of every kind, some touching each other. */
const kinds = fc.constantFrom<StoreClass>('anonymous', 'anonymous', 'file-private', 'whole', 'none')
const spaces = fc
  .tuple(
    fc.constantFrom(0, 2 ** 32 - 10, 2 ** 52 - 300),
    fc.array(fc.tuple(kinds, fc.nat({ max: 3 }), fc.integer({ min: 1, max: 6 })), { maxLength: 25 }),
  )
  .map(([first, pieces]) => {
    let at = first
    return pieces.map(([kind, gap, pages]) => {
      const start = at + gap
      at = start + pages
      return vmaAt(kind, start, at)
    })
  })

const { anonymous, 'file-private': filePrivate, whole } = SEGMENT_CLASS

describe('the segments of an address space', () => {
  it('give every page of a VMA the class of its fate, and none where it is not stored', () => {
    fc.assert(
      fc.property(spaces, (vmas) => {
        const rows = rowsOf(buildSegments(vmas, true))
        const expected: [number, number[]][] = []
        for (const vma of vmas) {
          const { store } = vmaFate(vma)
          for (let page = vma.startPage; page < vma.endPage; page++) {
            expected.push([page, store === 'none' ? [] : [SEGMENT_CLASS[store]]])
          }
        }
        const found = expected.map(([page]): [number, number[]] => [
          page,
          rows.flatMap(([start, end, code]) => (start <= page && page < end ? [code] : [])),
        ])
        expect(found).toEqual(expected)
      }),
      { numRuns: 300 },
    )
  })

  it('are in order, apart from each other, and begin and end with VMAs', () => {
    fc.assert(
      fc.property(spaces, (vmas) => {
        const starts = new Set(vmas.map((vma) => vma.startPage))
        const ends = new Set(vmas.map((vma) => vma.endPage))
        let last = 0
        for (const [start, end] of rowsOf(buildSegments(vmas, true))) {
          expect(start).toBeGreaterThanOrEqual(last)
          expect(end).toBeGreaterThan(start)
          expect([starts.has(start), ends.has(end)]).toEqual([true, true])
          last = end
        }
      }),
    )
  })

  it('join VMAs of one class across gaps, and end at a VMA that is not stored, as drawn', () => {
    const vmas = [
      vmaAt('anonymous', 10, 14),
      vmaAt('anonymous', 16, 20),
      vmaAt('anonymous', 20, 24),
      vmaAt('file-private', 27, 30),
      vmaAt('file-private', 30, 34),
      vmaAt('none', 35, 37),
      vmaAt('anonymous', 38, 40),
    ]
    expect(rowsOf(buildSegments(vmas, true))).toEqual([
      [10, 24, anonymous],
      [27, 34, filePrivate],
      [38, 40, anonymous],
    ])
  })

  it('end at a VMA that is not stored though the class goes on', () => {
    const vmas = [vmaAt('anonymous', 1, 2), vmaAt('none', 2, 3), vmaAt('anonymous', 3, 4)]
    expect(rowsOf(buildSegments(vmas, true))).toEqual([
      [1, 2, anonymous],
      [3, 4, anonymous],
    ])
  })

  it('keep VMAs apart that are stored whole: a gap between them has no pages to store', () => {
    const vmas = [vmaAt('whole', 1, 3), vmaAt('whole', 3, 4), vmaAt('whole', 9, 10)]
    expect(rowsOf(buildSegments(vmas, true))).toEqual([
      [1, 3, whole],
      [3, 4, whole],
      [9, 10, whole],
    ])
  })

  it('of ten thousand anonymous VMAs are one', () => {
    const vmas = Array.from({ length: 10_000 }, (_, index) => vmaAt('anonymous', 3 * index, 3 * index + 2))
    expect(rowsOf(buildSegments(vmas, true))).toEqual([[0, 29_999, anonymous]])
  })

  it('end at gaps where gaps are not to be joined, and go on over touching VMAs', () => {
    const vmas = [vmaAt('anonymous', 0, 5), vmaAt('anonymous', 5, 9), vmaAt('anonymous', 1e9, 1e9 + 1)]
    expect(rowsOf(buildSegments(vmas, false))).toEqual([
      [0, 9, anonymous],
      [1e9, 1e9 + 1, anonymous],
    ])
  })

  it('end at a VMA that the caller leaves out, even between others of its class', () => {
    const vmas = [vmaAt('anonymous', 1, 2), vmaAt('anonymous', 2, 3), vmaAt('anonymous', 3, 4)]
    const storeOf = (vma: Vma): StoreClass => (vma.startPage === 2 ? 'none' : vmaFate(vma).store)
    for (const joinGaps of [true, false]) {
      expect(rowsOf(buildSegments(vmas, joinGaps, storeOf))).toEqual([
        [1, 2, anonymous],
        [3, 4, anonymous],
      ])
    }
  })

  it('have the classes that the caller says, whatever the fate', () => {
    fc.assert(
      fc.property(spaces, fc.array(kinds, { minLength: 25, maxLength: 25 }), (vmas, said) => {
        const saidOf = new Map(vmas.map((vma, index) => [vma, said[index] ?? 'none']))
        const lines = vmas.map((vma) => vmaAt(saidOf.get(vma) ?? 'none', vma.startPage, vma.endPage))
        const found = buildSegments(vmas, true, (vma) => saidOf.get(vma) ?? 'none')
        expect(rowsOf(found)).toEqual(rowsOf(buildSegments(lines, true)))
      }),
    )
  })

  it('of nothing are none', () => {
    expect(rowsOf(buildSegments([], true))).toEqual([])
    expect(rowsOf(buildSegments([vmaAt('none', 4, 5)], true))).toEqual([])
  })
})

describe('the first segment after a page', () => {
  it('is the first whose end lies behind it', () => {
    fc.assert(
      fc.property(spaces, (vmas) => {
        const segments = buildSegments(vmas, true)
        const rows = rowsOf(segments)
        const pages = [0, ...vmas.flatMap(({ startPage, endPage }) => [startPage, endPage - 1, endPage])]
        for (const page of pages) {
          const found = rows.findIndex(([, end]) => end > page)
          expect(firstSegmentAfter(segments, page)).toBe(found < 0 ? rows.length : found)
        }
      }),
    )
  })
})
