import { describe, expect, it } from '@jest/globals'
import fc from 'fast-check'
import { fillRemoteIovecs, IOVEC_BYTES, MAX_IOVECS, pageAtOffset, setIovec } from '../../src/core/iovec.js'
import { pagesOfRuns, planOfRuns, type Run } from './builders.js'

/** Runs that do not touch, so each needs an iovec of its own. */
const runLists = fc
  .tuple(
    fc.constantFrom(0, 2 ** 20 - 3, 2 ** 32 - 3, 2 ** 35 - 500),
    fc.array(fc.tuple(fc.integer({ min: 1, max: 9 }), fc.integer({ min: 1, max: 9 })), {
      minLength: 1,
      maxLength: 25,
    }),
  )
  .map(([first, pieces]) => {
    let at = first
    return pieces.map(([gap, pages]): Run => {
      const start = at + gap
      at = start + pages
      return [start, pages]
    })
  })

const pageSizes = fc.constantFrom(4096, 16_384, 65_536)

/** The kernel's view of `iovecs`: two 64-bit numbers each. */
function readIovecs(iovecs: Uint32Array, count: number): [address: number, length: number][] {
  const view = new DataView(iovecs.buffer, iovecs.byteOffset, iovecs.byteLength)
  return Array.from({ length: count }, (_, index): [number, number] => [
    Number(view.getBigUint64(16 * index, true)),
    Number(view.getBigUint64(16 * index + 8, true)),
  ])
}

/** The pages that iovecs name, one by one. */
function pagesOfIovecs(list: readonly (readonly [number, number])[], pageSize: number): number[] {
  return pagesOfRuns(list.map(([address, length]): Run => [address / pageSize, length / pageSize]))
}

describe('an iovec', () => {
  it('is two 64-bit little-endian numbers, above 2^32 too', () => {
    const iovecs = new Uint32Array(8)
    setIovec(iovecs, 1, 0x7fff_1234_5000, 0x1_0000_3000)
    expect([...new Uint8Array(iovecs.buffer)]).toEqual([
      ...Array.from({ length: 16 }, () => 0),
      ...[0x00, 0x50, 0x34, 0x12, 0xff, 0x7f, 0, 0],
      ...[0x00, 0x30, 0x00, 0x00, 0x01, 0, 0, 0],
    ])
  })

  it('holds every address and length of a process exactly', () => {
    const number = fc.integer({ min: 0, max: 2 ** 47 })
    fc.assert(
      fc.property(number, number, fc.nat({ max: 3 }), (address, length, index) => {
        const iovecs = new Uint32Array(16)
        setIovec(iovecs, index, address, length)
        expect(readIovecs(iovecs, 4)[index]).toEqual([address, length])
      }),
    )
  })
})

describe('filling iovecs', () => {
  it('names the very pages of any range of the file, in order, as far as the iovecs reach', () => {
    fc.assert(
      fc.property(
        runLists,
        pageSizes,
        fc.nat(),
        fc.nat(),
        fc.integer({ min: 1, max: 30 }),
        (runs, pageSize, a, b, capacity) => {
          const pages = pagesOfRuns(runs)
          const [start = 0, end = 0] = [a % (pages.length + 1), b % (pages.length + 1)].sort((x, y) => x - y)
          const iovecs = new Uint32Array((capacity * IOVEC_BYTES) / 4)
          const fill = fillRemoteIovecs(planOfRuns(runs), start, end, pageSize, iovecs)
          const named = pagesOfIovecs(readIovecs(iovecs, fill.count), pageSize)
          expect(named).toEqual(pages.slice(start, fill.endPage))
          expect(fill.count).toBeLessThanOrEqual(capacity)
          if (fill.endPage !== end) expect(fill.count).toBe(capacity)
        },
      ),
      { numRuns: 500 },
    )
  })

  it('takes one iovec for each run that the range touches', () => {
    fc.assert(
      fc.property(runLists, fc.nat(), fc.nat(), (runs, a, b) => {
        const owners = runs.flatMap(([, pages], run) => Array.from({ length: pages }, () => run))
        const [start = 0, end = 0] = [a % (owners.length + 1), b % (owners.length + 1)].sort((x, y) => x - y)
        const { count } = fillRemoteIovecs(planOfRuns(runs), start, end, 4096, new Uint32Array(400))
        expect(count).toBe(new Set(owners.slice(start, end)).size)
      }),
    )
  })

  it('goes through a whole plan batch by batch, losing and repeating nothing', () => {
    fc.assert(
      fc.property(
        runLists,
        fc.integer({ min: 1, max: 20 }),
        fc.integer({ min: 1, max: 3 }),
        (runs, batch, capacity) => {
          const plan = planOfRuns(runs)
          const total = pagesOfRuns(runs).length
          const iovecs = new Uint32Array((capacity * IOVEC_BYTES) / 4)
          const copied: number[] = []
          for (let start = 0; start < total; start += batch) {
            const end = Math.min(total, start + batch)
            for (let at = start; at < end;) {
              const fill = fillRemoteIovecs(plan, at, end, 4096, iovecs)
              expect(fill.endPage).toBeGreaterThan(at)
              copied.push(...pagesOfIovecs(readIovecs(iovecs, fill.count), 4096))
              at = fill.endPage
            }
          }
          expect(copied).toEqual(pagesOfRuns(runs))
        },
      ),
      { numRuns: 200 },
    )
  })

  it('names the tail of one run and the head of the next, as drawn at the head of its file', () => {
    const plan = planOfRuns([
      [100, 9],
      [200, 5],
      [300, 17],
    ])
    const iovecs = new Uint32Array(64)
    expect(fillRemoteIovecs(plan, 12, 20, 4096, iovecs)).toEqual({ count: 2, endPage: 20 })
    expect(readIovecs(iovecs, 2)).toEqual([
      [203 * 4096, 2 * 4096],
      [300 * 4096, 6 * 4096],
    ])
  })

  it('writes an iovec of more than 4 GiB', () => {
    const iovecs = new Uint32Array(8)
    const fill = fillRemoteIovecs(planOfRuns([[2 ** 34, 2 ** 21]]), 3, 2 ** 21, 4096, iovecs)
    expect(fill).toEqual({ count: 1, endPage: 2 ** 21 })
    expect(readIovecs(iovecs, 1)).toEqual([[2 ** 46 + 3 * 4096, 2 ** 33 - 3 * 4096]])
  })

  it('never gives the kernel more iovecs than one call takes', () => {
    const plan = planOfRuns(Array.from({ length: 3000 }, (_, run): Run => [2 * run, 1]))
    const iovecs = new Uint32Array((3000 * IOVEC_BYTES) / 4)
    expect(MAX_IOVECS).toBe(1024)
    expect(fillRemoteIovecs(plan, 500, 3000, 4096, iovecs)).toEqual({ count: 1024, endPage: 1524 })
  })
})

describe('the page at an offset of the file', () => {
  it('is that of a walk over the pages one at a time', () => {
    fc.assert(
      fc.property(runLists, (runs) => {
        const plan = planOfRuns(runs)
        const pages = pagesOfRuns(runs)
        expect(pages.map((_, offset) => pageAtOffset(plan, offset))).toEqual(pages)
      }),
    )
  })
})
