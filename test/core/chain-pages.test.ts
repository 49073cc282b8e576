import { describe, expect, it } from '@jest/globals'
import fc from 'fast-check'
import { locatePages, rowAt, type LinkRows, type LocatedPages } from '../../src/core/chain-pages.js'

type Place = 'present' | 'parent' | 'neither'
type Row = readonly [startPage: number, pages: number, place: Place]

function linkOf(rows: readonly Row[]): LinkRows {
  return {
    count: rows.length,
    startPage: Float64Array.from(rows, ([start]) => start),
    pageCount: Float64Array.from(rows, ([, pages]) => pages),
    place: (row) => rows[row]?.[2] ?? 'neither',
  }
}

/** Chains of up to five links; the rows of one place touch now and then, as CRIU writes them. */
const chains = fc
  .tuple(
    fc.constantFrom(0, 2 ** 32 - 30, 2 ** 52 - 2000),
    fc.array(
      fc.array(
        fc.tuple(
          fc.nat({ max: 4 }),
          fc.integer({ min: 1, max: 12 }),
          fc.constantFrom<Place>('present', 'present', 'parent', 'parent', 'parent', 'neither'),
        ),
        { maxLength: 14 },
      ),
      { minLength: 1, maxLength: 5 },
    ),
  )
  .map(([first, links]) =>
    links.map((pieces) => {
      let at = first
      return pieces.map(([gap, pages, place]): Row => {
        const start = at + gap
        at = start + pages
        return [start, pages, place]
      })
    }),
  )

/** Where the pages of link `index` and of its parents lie, a page at a time, and which are lost on the way. */
function twinOf(links: readonly (readonly Row[])[]): { at: Map<number, string>; lost: string[] } {
  const lost: string[] = []
  let parent = new Map<number, string>()
  for (let link = links.length - 1; link >= 0; link--) {
    const own = new Map<number, string>()
    let filePage = 0
    for (const [start, pages, place] of links[link] ?? []) {
      for (let page = start; page < start + pages; page++) {
        const above = parent.get(page)
        if (place === 'present') own.set(page, `${link}:${filePage++}`)
        else if (place === 'parent' && above !== undefined) own.set(page, above)
        else lost.push(`${link}:${page}`)
      }
    }
    parent = own
  }
  return { at: parent, lost }
}

function pagesOf(located: LocatedPages): Map<number, string> {
  const at = new Map<number, string>()
  for (let row = 0; row < located.count; row++) {
    for (let index = 0; index < (located.pageCount[row] ?? 0); index++) {
      at.set(
        (located.startPage[row] ?? 0) + index,
        `${located.link[row] ?? -1}:${(located.filePage[row] ?? 0) + index}`,
      )
    }
  }
  return at
}

describe('locating the pages of a chain', () => {
  it('finds each as a walk from link to link does, and tells every lost one', () => {
    fc.assert(
      fc.property(chains, (links) => {
        const { located, lost } = locatePages(links.map(linkOf))
        const twin = twinOf(links)
        expect([...pagesOf(located)]).toEqual([...twin.at])
        const lostPages = lost.flatMap(({ link, startPage, pages }) =>
          Array.from({ length: pages }, (_, index) => `${link}:${startPage + index}`),
        )
        expect(lostPages).toEqual(twin.lost)
      }),
      { numRuns: 500 },
    )
  })

  it('gives rows in order, without overlap, joined as far as they lie side by side', () => {
    fc.assert(
      fc.property(chains, (links) => {
        const { located } = locatePages(links.map(linkOf))
        for (let row = 1; row < located.count; row++) {
          const [before, start] = [located.startPage[row - 1] ?? 0, located.startPage[row] ?? 0]
          const pages = located.pageCount[row - 1] ?? 0
          expect(start).toBeGreaterThanOrEqual(before + pages)
          const continues =
            start === before + pages &&
            located.link[row] === located.link[row - 1] &&
            located.filePage[row] === (located.filePage[row - 1] ?? 0) + pages
          expect(continues).toBe(false)
        }
      }),
    )
  })

  it('is as drawn at the head of its file', () => {
    const { located, lost } = locatePages([
      linkOf([
        [10, 1, 'parent'],
        [11, 1, 'parent'],
        [13, 2, 'present'],
        [16, 1, 'parent'],
      ]),
      linkOf([
        [10, 1, 'parent'],
        [11, 2, 'present'],
        [13, 1, 'parent'],
        [16, 2, 'parent'],
      ]),
      linkOf([
        [10, 4, 'present'],
        [16, 2, 'present'],
      ]),
    ])
    expect(lost).toEqual([])
    expect([...pagesOf(located)]).toEqual([
      [10, '2:0'],
      [11, '1:0'],
      [13, '0:0'],
      [14, '0:1'],
      [16, '2:4'],
    ])
  })

  it('loses all that the last link leaves to a parent, and all of a hole that no parent covers', () => {
    const { located, lost } = locatePages([
      linkOf([[10, 10, 'parent']]),
      linkOf([
        [12, 2, 'present'],
        [15, 1, 'parent'],
      ]),
    ])
    expect([...pagesOf(located).keys()]).toEqual([12, 13])
    expect(lost).toEqual([
      { link: 1, startPage: 15, pages: 1 },
      { link: 0, startPage: 10, pages: 2 },
      { link: 0, startPage: 14, pages: 6 },
    ])
  })

  it('takes rows that are in neither for lost, in the link and in those that point there', () => {
    const { located, lost } = locatePages([linkOf([[1, 3, 'parent']]), linkOf([[1, 3, 'neither']])])
    expect(located.count).toBe(0)
    expect(lost).toEqual([
      { link: 1, startPage: 1, pages: 3 },
      { link: 0, startPage: 1, pages: 3 },
    ])
  })

  it('finds nothing in no link, and nothing in an empty one', () => {
    expect(locatePages([])).toMatchObject({ located: { count: 0 }, lost: [] })
    expect(locatePages([linkOf([])])).toMatchObject({ located: { count: 0 }, lost: [] })
  })

  it('lies in shared memory', () => {
    const { located } = locatePages([linkOf([[1, 1, 'present']])])
    for (const column of [located.startPage, located.pageCount, located.link, located.filePage]) {
      expect(Object.prototype.toString.call(column.buffer)).toBe('[object SharedArrayBuffer]')
    }
  })
})

describe('the row at a page', () => {
  it('is the first that ends behind it', () => {
    fc.assert(
      fc.property(chains, (links) => {
        const { located } = locatePages(links.map(linkOf))
        const ends = Array.from(located.startPage, (start, row) => start + (located.pageCount[row] ?? 0))
        for (const page of [0, ...located.startPage, ...ends, ...ends.map((end) => end - 1)]) {
          const found = ends.findIndex((end) => end > page)
          expect(rowAt(located, page)).toBe(found < 0 ? ends.length : found)
        }
      }),
    )
  })
})
