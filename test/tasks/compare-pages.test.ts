import { closeSync, ftruncateSync, openSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from '@jest/globals'
import fc from 'fast-check'
import { allocateBitmap, testBit } from '../../src/core/bitmap.js'
import { locatePages, type LocatedPages } from '../../src/core/chain-pages.js'
import { allocateControl, CREW } from '../../src/tasks/control.js'
import { comparePages } from '../../src/tasks/compare-pages.js'
import { planOfRuns, runsOfPages, type Run } from '../core/builders.js'
import { withOwnPages } from '../kernel/own-memory.js'
import { pageSize } from '../support/kernel-vmas.js'
import { withTempDir } from '../support/tool.js'
import { copyIn } from '../victims/libc.js'

const PAGE = pageSize()
const BASE = 2 ** 33

/** A page that differs from that of another `value` in its last byte alone. */
function content(value: number): Buffer {
  const bytes = Buffer.alloc(PAGE, 0x5a)
  bytes[PAGE - 1] = value
  return bytes
}

/** What one link of a chain says about page BASE + index: a value of its own, a hole, or nothing. */
type Link = readonly (number | 'hole' | undefined)[]

interface Case {
  /** The captured pages' values by index; undefined for a page that is not in the plan. */
  readonly captured: readonly (number | undefined)[]
  readonly links: readonly Link[]
  readonly batchPages: number
  /** How many of the captured pages are staged. */
  readonly stagedShare: number
}

const PAGES = 40
const list = <T>(item: fc.Arbitrary<T>): fc.Arbitrary<T[]> =>
  fc.array(item, { minLength: PAGES, maxLength: PAGES })
const value = fc.constantFrom(1, 1, 1, 2)
const cases: fc.Arbitrary<Case> = fc.record({
  captured: list(fc.oneof({ weight: 4, arbitrary: value }, { weight: 1, arbitrary: fc.constant(undefined) })),
  links: fc.array(list(fc.oneof(value, fc.constantFrom('hole' as const, 'hole' as const, undefined))), {
    minLength: 1,
    maxLength: 3,
  }),
  batchPages: fc.constantFrom(1, 3, 32, 64),
  stagedShare: fc.constantFrom(0, 0.4, 1, 1),
})

/** The value that the chain has for page `index`, looked up link by link. */
function valueInChain(links: readonly Link[], index: number): number | undefined {
  for (const link of links) {
    const found = link[index]
    if (found !== 'hole') return found
  }
  return undefined
}

/** The pages of `link` that are `wanted`. */
function pagesOfLink(link: Link, wanted: (held: Link[number]) => boolean): number[] {
  return link.flatMap((held, index) => (wanted(held) ? [BASE + index] : []))
}

function locate(links: readonly Link[]): LocatedPages {
  const rowsOf = (link: Link): { run: Run; hole: boolean }[] =>
    [true, false]
      .flatMap((hole) =>
        runsOfPages(pagesOfLink(link, (held) => held !== undefined && (held === 'hole') === hole)).map(
          (run) => ({ run, hole }),
        ),
      )
      .sort((a, b) => a.run[0] - b.run[0])
  return locatePages(
    links.map((link) => {
      const rows = rowsOf(link)
      return {
        count: rows.length,
        startPage: Float64Array.from(rows, ({ run }) => run[0]),
        pageCount: Float64Array.from(rows, ({ run }) => run[1]),
        place: (row) => (rows[row]?.hole === true ? 'parent' : 'present'),
      }
    }),
  ).located
}

/** Runs `use` with the descriptors of the links' pages files. */
async function withPagesFiles(links: readonly Link[], use: (fds: number[]) => void): Promise<void> {
  await withTempDir(async (directory) => {
    await Promise.resolve()
    const fds = links.map((link, index) => {
      const path = join(directory, `pages-${index}.img`)
      writeFileSync(
        path,
        Buffer.concat(link.flatMap((held) => (typeof held === 'number' ? [content(held)] : []))),
      )
      return openSync(path, 'r+')
    })
    try {
      use(fds)
    } finally {
      for (const fd of fds) closeSync(fd)
    }
  })
}

describe('comparing pages', () => {
  it('finds exactly the staged ones that the chain has byte for byte', async () => {
    await fc.assert(
      fc.asyncProperty(cases, async ({ captured, links, batchPages, stagedShare }) => {
        const pages = captured.flatMap((held, index) => (held === undefined ? [] : [BASE + index]))
        const stagedPages = Math.floor(pages.length * stagedShare)
        await withPagesFiles(links, (pagesFds) => {
          withOwnPages(PAGES + 2 * batchPages, (address) => {
            for (const [place, page] of pages.entries()) {
              copyIn(address + place * PAGE, content(captured[page - BASE] ?? 0), PAGE)
            }
            const same = allocateBitmap(pages.length)
            const job = {
              ...({
                kind: 'compare',
                plan: planOfRuns(runsOfPages(pages)),
                stagingAddress: address,
              } as const),
              ...{ stagedPages, batchPages, bufferAddress: address + PAGES * PAGE },
              ...{ located: locate(links), pagesFds, same },
            }
            const counts = comparePages(job, allocateControl(CREW.words), 1)
            expect(counts).toEqual({ pieces: Math.ceil(stagedPages / batchPages), pages: stagedPages })
            const found = pages.filter((_, place) => testBit(same, place))
            const expected = pages.filter(
              (page, place) =>
                place < stagedPages && valueInChain(links, page - BASE) === captured[page - BASE],
            )
            expect(found).toEqual(expected)
          })
        })
      }),
      { numRuns: 150 },
    )
  })

  it('leaves the batches that others took to them', async () => {
    const links = [Array.from({ length: 4 }, () => 1)]
    await withPagesFiles(links, (pagesFds) => {
      withOwnPages(5, (address) => {
        for (let place = 0; place < 4; place += 1) copyIn(address + place * PAGE, content(1), PAGE)
        const control = allocateControl(CREW.words)
        Atomics.store(control, CREW.next, 3)
        const same = allocateBitmap(4)
        const job = {
          ...({ kind: 'compare', plan: planOfRuns([[BASE, 4]]), stagingAddress: address } as const),
          ...{ stagedPages: 4, batchPages: 1, bufferAddress: address + 4 * PAGE },
          ...{ located: locate(links), pagesFds, same },
        }
        expect(comparePages(job, control, 0)).toEqual({ pieces: 1, pages: 1 })
        expect([...same]).toEqual([8])
      })
    })
  })

  it('fails on a pages file that has shrunk, rather than take what it read before for the same', async () => {
    const links = [[1, 1]]
    await withPagesFiles(links, (pagesFds) => {
      withOwnPages(4, (address) => {
        ftruncateSync(pagesFds[0] ?? -1, 2 * PAGE - 1)
        const job = {
          ...({ kind: 'compare', plan: planOfRuns([[BASE, 2]]), stagingAddress: address } as const),
          ...{ stagedPages: 2, batchPages: 2, bufferAddress: address + 2 * PAGE },
          ...{ located: locate(links), pagesFds, same: allocateBitmap(2) },
        }
        expect(() => comparePages(job, allocateControl(CREW.words), 0)).toThrow(
          expect.objectContaining({ code: 'BAD_IMAGE' }),
        )
      })
    })
  })
})
