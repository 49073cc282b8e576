import { describe, expect, it } from '@jest/globals'
import fc from 'fast-check'
import {
  CHUNK_PAGES,
  chunkDirectory,
  lowerChunk,
  pageOfSlot,
  slotCount,
  slotOfPage,
} from '../../src/core/chunks.js'

/** Pages of a 64-bit address space of 4 KiB pages. */
const ALL_PAGES = 2 ** 52
const ALL_CHUNKS = ALL_PAGES / CHUNK_PAGES

/** Chunk numbers, many of them next to each other, at 2^32 pages, and at the very end. */
const chunk = fc.oneof(
  fc.nat({ max: 8 }),
  fc.integer({ min: 2 ** 32 / CHUNK_PAGES - 3, max: 2 ** 32 / CHUNK_PAGES + 3 }),
  fc.integer({ min: 0, max: ALL_CHUNKS - 1 }),
  fc.integer({ min: ALL_CHUNKS - 4, max: ALL_CHUNKS - 1 }),
)
const chunkLists = fc.array(chunk, { maxLength: 20 })

function ascending(numbers: Iterable<number>): number[] {
  return [...new Set(numbers)].sort((a, b) => a - b)
}

describe('a chunk directory', () => {
  it('lists each chunk once, in ascending order, in shared memory', () => {
    const directory = chunkDirectory([906, 7, 905, 7, 2 ** 40 - 1, 906])
    expect([...directory.numbers]).toEqual([7, 905, 906, 2 ** 40 - 1])
    expect(directory.count).toBe(4)
    expect(Object.prototype.toString.call(directory.numbers.buffer)).toBe('[object SharedArrayBuffer]')
  })

  it('gives slots in the order of the pages, as drawn at the head of its file', () => {
    const directory = chunkDirectory([905, 7, 906])
    expect(slotCount(directory)).toBe(3 * 4096)
    expect(slotOfPage(directory, 7 * 4096)).toBe(0)
    expect(slotOfPage(directory, 8 * 4096 - 1)).toBe(4095)
    expect(slotOfPage(directory, 905 * 4096)).toBe(4096)
    expect(slotOfPage(directory, 906 * 4096 + 5)).toBe(8192 + 5)
    expect([0, 4095, 4096, 8197].map((slot) => pageOfSlot(directory, slot))).toEqual([
      28672, 32767, 3706880, 3710981,
    ])
  })

  it('has no slot for a page of a chunk that it does not list', () => {
    const directory = chunkDirectory([7, 905])
    const outside = [0, 7 * 4096 - 1, 8 * 4096, 904 * 4096 + 4095, 906 * 4096, 2 ** 52 - 1]
    expect(outside.map((page) => slotOfPage(directory, page))).toEqual([-1, -1, -1, -1, -1, -1])
    expect(slotOfPage(chunkDirectory([]), 0)).toBe(-1)
    expect(slotCount(chunkDirectory([]))).toBe(0)
  })

  it('leads from slot to page and back for every slot', () => {
    fc.assert(
      fc.property(chunkLists, fc.nat({ max: CHUNK_PAGES - 1 }), (numbers, within) => {
        const directory = chunkDirectory(numbers)
        for (const [index, number] of ascending(numbers).entries()) {
          const slot = index * CHUNK_PAGES + within
          const page = number * CHUNK_PAGES + within
          expect(pageOfSlot(directory, slot)).toBe(page)
          expect(slotOfPage(directory, page)).toBe(slot)
        }
      }),
    )
  })

  it('knows a page if and only if it lists its chunk, also next to 2^32 and to 2^52', () => {
    fc.assert(
      fc.property(chunkLists, chunk, fc.nat({ max: CHUNK_PAGES - 1 }), (numbers, asked, within) => {
        const index = ascending(numbers).indexOf(asked)
        const slot = index < 0 ? -1 : index * CHUNK_PAGES + within
        expect(slotOfPage(chunkDirectory(numbers), asked * CHUNK_PAGES + within)).toBe(slot)
      }),
    )
  })

  it('finds the first chunk that is not below a number', () => {
    fc.assert(
      fc.property(chunkLists, chunk, (numbers, asked) => {
        const sorted = ascending(numbers)
        const expected = sorted.filter((number) => number < asked).length
        expect(lowerChunk(chunkDirectory(numbers), asked)).toBe(expected)
      }),
    )
  })

  it('has chunks of whole words of a bitmap', () => {
    expect(CHUNK_PAGES % 32).toBe(0)
  })
})
