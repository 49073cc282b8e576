import { NO_RUNS } from '../../src/core/page-runs.js'
import { describe, expect, it } from '@jest/globals'
import fc from 'fast-check'

import { frameMessages } from '../../src/image/container.js'
import { PAGEMAP_MAGICS } from '../../src/image/magic.js'
import {
  decodePagemap,
  encodePagemap,
  entryOffsets,
  entryOfPage,
  PE_LAZY,
  PE_PARENT,
  PE_PRESENT,
  type Pagemap,
} from '../../src/image/pagemap.js'
import { planOf, thrownBy } from './fixtures.js'

/** Ascending runs without overlap, up to the end of the address space. */
const runs = fc
  .array(fc.tuple(fc.nat({ max: 2 ** 44 }), fc.integer({ min: 1, max: 2 ** 33 })), { maxLength: 40 })
  .map((pairs) => {
    let end = 0
    return pairs.map(([gap, pages]): [number, number] => {
      const start = end + gap
      end = start + pages
      return [start, pages]
    })
  })

/** The varint of `value`, written out from the protobuf specification. */
function varint(value: bigint): number[] {
  return value < 0x80n ? [Number(value)] : [Number((value & 0x7fn) | 0x80n), ...varint(value >> 7n)]
}

function rowsOf(pagemap: Pagemap): [number, number, number][] {
  const rows: [number, number, number][] = []
  for (let row = 0; row < pagemap.count; row++) {
    rows.push([pagemap.startPage[row] ?? -1, pagemap.pageCount[row] ?? -1, pagemap.flags[row] ?? -1])
  }
  return rows
}

/** A pagemap of hand-written entries; the head says pages_id 3. */
function imageOf(...entries: readonly number[][]): Uint8Array {
  return frameMessages(PAGEMAP_MAGICS, [
    Uint8Array.of(8, 3),
    ...entries.map((entry) => Uint8Array.from(entry)),
  ])
}

const vaddr = (address: bigint): number[] => [0x08, ...varint(address)]
const compatPages = (pages: number): number[] => [0x10, ...varint(BigInt(pages))]
const flagsField = (flags: number): number[] => [0x20, flags]
const pagesField = (pages: number): number[] => [0x28, ...varint(BigInt(pages))]

describe('encoding a pagemap', () => {
  it('writes the head and an entry a run, byte by byte as the format says', () => {
    const file = encodePagemap(
      planOf([
        [0x10, 3],
        [0x20, 300],
      ]),
      4096,
      2,
    )
    const first = [...vaddr(0x10000n), ...compatPages(3), ...flagsField(4), ...pagesField(3)]
    const second = [...vaddr(0x20000n), ...compatPages(300), ...flagsField(4), ...pagesField(300)]
    const u32 = (value: number): number[] => [value, 0, 0, 0]
    expect([...file]).toEqual([
      ...[0x19, 0x43, 0x56, 0x54, 0x25, 0x40, 0x08, 0x56],
      ...[...u32(2), 8, 2],
      ...[...u32(first.length), ...first],
      ...[...u32(second.length), ...second],
    ])
  })

  it('writes no entry for an empty plan', () => {
    expect(rowsOf(decodePagemap(encodePagemap(planOf([]), 4096, 1), 'p', 4096))).toEqual([])
  })

  it('gives back the runs of any plan, at any page size', () => {
    fc.assert(
      fc.property(runs, fc.constantFrom(4096, 16384, 65536), (list, pageSize) => {
        const limit = 2 ** 64 / pageSize
        const fitting = list.filter(([start, pages]) => start + pages <= limit)
        const pagemap = decodePagemap(encodePagemap(planOf(fitting), pageSize, 9), 'p', pageSize)
        expect(pagemap.pagesId).toBe(9)
        expect(rowsOf(pagemap)).toEqual(fitting.map(([start, pages]) => [start, pages, PE_PRESENT]))
      }),
    )
  })

  it('writes holes as entries in the parent, in their place among the runs', () => {
    const plan = planOf(
      [
        [0x10, 3],
        [0x20, 1],
      ],
      [
        [0x8, 2],
        [0x13, 5],
        [0x30, 300],
      ],
    )
    expect(rowsOf(decodePagemap(encodePagemap(plan, 4096, 1), 'p', 4096))).toEqual([
      [0x8, 2, 1],
      [0x10, 3, 4],
      [0x13, 5, 1],
      [0x20, 1, 4],
      [0x30, 300, 1],
    ])
  })

  it('writes a hole byte by byte as the format says', () => {
    const file = encodePagemap(planOf([], [[0x20, 300]]), 4096, 2)
    const entry = [...vaddr(0x20000n), ...compatPages(300), ...flagsField(1), ...pagesField(300)]
    expect([...file.subarray(8)]).toEqual([2, 0, 0, 0, 8, 2, entry.length, 0, 0, 0, ...entry])
  })

  it('gives back the runs and holes of any plan, in address order', () => {
    const kinds = fc.array(fc.boolean(), { minLength: 40, maxLength: 40 })
    fc.assert(
      fc.property(runs, kinds, (list, isHole) => {
        const fitting = list.filter(([start, pages]) => start + pages <= 2 ** 52)
        const plan = planOf(
          fitting.filter((_, index) => isHole[index] !== true),
          fitting.filter((_, index) => isHole[index] === true),
        )
        expect(rowsOf(decodePagemap(encodePagemap(plan, 4096, 1), 'p', 4096))).toEqual(
          fitting.map(([start, pages], index) => [
            start,
            pages,
            isHole[index] === true ? PE_PARENT : PE_PRESENT,
          ]),
        )
      }),
    )
  })

  it('keeps the page of [vsyscall] and the last page of the address space', () => {
    const list: [number, number][] = [
      [0xffffffffff600, 1],
      [0xfffffffffffff, 1],
    ]
    const pagemap = decodePagemap(encodePagemap(planOf(list), 4096, 1), 'p', 4096)
    expect([...pagemap.startPage]).toEqual([0xffffffffff600, 0xfffffffffffff])
  })

  it('encodes and decodes half a million runs', () => {
    const count = 500_000
    const plan = {
      runCount: count,
      startPage: Float64Array.from({ length: count }, (_, run) => 0x7f0000000 + 3 * run),
      offsetPages: Float64Array.from({ length: count + 1 }, (_, run) => 2 * run),
      holes: NO_RUNS,
    }
    const file = encodePagemap(plan, 4096, 1)
    expect(decodePagemap(file, 'p', 4096).count).toBe(count)
  })
})

describe('decoding a pagemap', () => {
  it('takes either field of the page count, and nr_pages where both are there', () => {
    const image = imageOf(
      [...vaddr(0x1000n), ...compatPages(2), ...flagsField(4)],
      [...vaddr(0x10000n), ...compatPages(0), ...flagsField(6), ...pagesField(5)],
      [...vaddr(0x20000n), ...compatPages(9), ...flagsField(4), ...pagesField(7)],
    )
    expect(rowsOf(decodePagemap(image, 'p', 4096))).toEqual([
      [1, 2, PE_PRESENT],
      [0x10, 5, PE_PRESENT | PE_LAZY],
      [0x20, 7, PE_PRESENT],
    ])
  })

  it('takes an entry without flags as present, and one with the legacy field as in the parent', () => {
    const image = imageOf(
      [...vaddr(0x1000n), ...compatPages(1)],
      [...vaddr(0x2000n), ...compatPages(1), 0x18, 1],
      [...vaddr(0x3000n), ...compatPages(1), 0x18, 0],
    )
    expect([...decodePagemap(image, 'p', 4096).flags]).toEqual([PE_PRESENT, PE_PARENT, PE_PRESENT])
  })

  it.each([
    [
      'descends',
      [
        [0x3000n, 1],
        [0x1000n, 1],
      ],
      'does not ascend',
    ],
    [
      'overlaps',
      [
        [0x1000n, 3],
        [0x3000n, 1],
      ],
      'overlaps',
    ],
    ['is not page-aligned', [[0x1800n, 1]], 'entry at 0x1800 is not aligned'],
    ['goes beyond the address space', [[0xfffffffffffff000n, 2]], 'goes beyond the address space'],
  ] as const)('refuses an entry that %s', (_, entries, complaint) => {
    const image = imageOf(...entries.map(([start, pages]) => [...vaddr(start), ...compatPages(pages)]))
    const error = thrownBy(() => decodePagemap(image, '/d/pagemap-1.img', 4096))
    expect(error).toMatchObject({ code: 'BAD_IMAGE', details: { path: '/d/pagemap-1.img' } })
    expect(String(error)).toContain(complaint)
  })

  it('refuses an entry that is no message, a missing required field, and a file without a head', () => {
    for (const image of [imageOf([0xff]), imageOf(vaddr(0x1000n)), frameMessages(PAGEMAP_MAGICS, [])]) {
      expect(thrownBy(() => decodePagemap(image, 'p', 4096))).toMatchObject({ code: 'BAD_IMAGE' })
    }
  })

  it('refuses or survives any bytes, never failing in another way', () => {
    const head = frameMessages(PAGEMAP_MAGICS, [Uint8Array.of(8, 1)])
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 64 }), (tail) => {
        try {
          decodePagemap(Buffer.concat([head, tail]), 'p', 4096)
        } catch (error) {
          expect(error).toMatchObject({ code: 'BAD_IMAGE' })
        }
      }),
      { numRuns: 500 },
    )
  })
})

describe('finding a page', () => {
  it('agrees with looking at every entry', () => {
    fc.assert(
      fc.property(runs, fc.nat({ max: 50 }), fc.integer({ min: -2, max: 2 }), (list, pick, shift) => {
        const pagemap = decodePagemap(
          encodePagemap(planOf(list.filter(([start]) => start < 2 ** 51)), 4096, 1),
          'p',
          4096,
        )
        const rows = rowsOf(pagemap)
        const page = Math.max(0, (rows[pick % Math.max(rows.length, 1)]?.[0] ?? 0) + shift)
        const expected = rows.findIndex(([start, pages]) => page >= start && page < start + pages)
        expect(entryOfPage(pagemap, page)).toBe(expected)
      }),
    )
  })

  it('counts only present entries into the offsets', () => {
    const image = imageOf(
      [...vaddr(0x1000n), ...compatPages(2), ...flagsField(4)],
      [...vaddr(0x10000n), ...compatPages(9), ...flagsField(1)],
      [...vaddr(0x20000n), ...compatPages(4), ...flagsField(2)],
      [...vaddr(0x30000n), ...compatPages(3), ...flagsField(6)],
    )
    expect([...entryOffsets(decodePagemap(image, 'p', 4096))]).toEqual([0, 2, 2, 2, 5])
  })
})
