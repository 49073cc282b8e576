import { readFileSync, rmSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals'
import { compareChain, expectChainEqualsProcess, isChainMismatch, readChain } from './chain-oracle.js'
import { entryFields, type Fields, type Held, writeImages, writeLink } from './hand-made-images.js'
import { pageSize } from './kernel-vmas.js'
import { expectedPages, readProcessPage } from './oracle.js'
import { suspend } from './processes.js'
import { type RunningTool, startCommand, withTempDir } from './tool.js'

/** What each link of a chain of three holds. */
type Links = readonly [Map<number, Held>, Map<number, Held>, Map<number, Held>]

const STALE = Buffer.alloc(pageSize(), 0xee)

describe('the chain oracle, on a process that stands still,', () => {
  let sleeper: RunningTool
  let required: readonly number[] = []

  beforeAll(async () => {
    sleeper = startCommand('sleep', ['300'], { timeoutMs: 300_000 })
    await suspend(sleeper.pid)
    required = expectedPages(sleeper.pid).required
  })

  afterAll(async () => {
    sleeper.kill('SIGKILL')
    await sleeper.finished
  })

  /** Number of the `index`-th page that a snapshot must hold. */
  const nth = (index: number): number => required[index] ?? 0

  /** A right chain: pages 0, 1 and 2 change after the first link, page 2 again after the second. */
  function rightLinks(): Links {
    const truth = (page: number): Buffer => readProcessPage(sleeper.pid, page)
    const first = new Map<number, Held>(required.map((page) => [page, truth(page)]))
    for (const index of [0, 1, 2]) first.set(nth(index), STALE)
    const second = new Map<number, Held>(required.map((page) => [page, 'parent']))
    for (const index of [0, 1]) second.set(nth(index), truth(nth(index)))
    second.set(nth(2), Buffer.alloc(pageSize(), 0xdd))
    const third = new Map<number, Held>(required.map((page) => [page, 'parent']))
    third.set(nth(2), truth(nth(2)))
    return [first, second, third]
  }

  /** Runs `use` with the directory of the last link, and that of the whole chain. */
  async function withChain(links: Links, use: (last: string, all: string) => void): Promise<void> {
    await withTempDir(async (all) => {
      writeLink(join(all, '1'), ascending(links[0]))
      writeLink(join(all, '2'), ascending(links[1]), '../1')
      writeLink(join(all, '3'), ascending(links[2]), '../2')
      use(join(all, '3'), all)
    })
  }

  it('accepts a right chain, and counts', async () => {
    await withChain(rightLinks(), (last) => {
      const pages = required.length
      expect(expectChainEqualsProcess(last, sleeper.pid)).toEqual({ pages, stored: 1, holes: pages - 1 })
      const { dirs, pages: places } = readChain(last)
      expect(dirs.map((dir) => dir.slice(-1))).toEqual(['3', '2', '1'])
      expect([places.get(nth(1))?.dir, places.get(nth(1))?.offset]).toEqual([dirs[1], pageSize()])
      expect([places.get(nth(3))?.dir, places.get(nth(3))?.offset]).toEqual([dirs[2], 3 * pageSize()])
    })
  })

  it('names a page that is stale', async () => {
    const links = rightLinks()
    links[2].set(nth(2), 'parent')
    await withChain(links, (last) => {
      const found = compareChain(readChain(last), sleeper.pid)
      expect([found.differing, found.missing, found.extra]).toEqual([[nth(2)], [], []])
    })
  })

  it('names a page that is stale by one byte', async () => {
    const links = rightLinks()
    const almost = readProcessPage(sleeper.pid, nth(2))
    almost.writeUInt8(almost.readUInt8(pageSize() - 1) ^ 1, pageSize() - 1)
    links[2].set(nth(2), almost)
    await withChain(links, (last) => {
      expect(compareChain(readChain(last), sleeper.pid).differing).toEqual([nth(2)])
    })
  })

  it('names a page that is missing, though an older link has it', async () => {
    const links = rightLinks()
    const page = required.find(
      (number) => !readProcessPage(sleeper.pid, number).equals(Buffer.alloc(pageSize())),
    )
    links[2].delete(page ?? 0)
    await withChain(links, (last) => {
      const found = compareChain(readChain(last), sleeper.pid)
      expect([found.differing, found.missing, found.extra]).toEqual([[], [page], []])
    })
  })

  it('names a page that the process has not', async () => {
    const links = rightLinks()
    links[0].set(1, STALE)
    links[1].set(1, 'parent')
    links[2].set(1, 'parent')
    await withChain(links, (last) => {
      const found = compareChain(readChain(last), sleeper.pid)
      expect([found.differing, found.missing, found.extra]).toEqual([[], [], [1]])
    })
  })

  it('says where each wrong page lies', async () => {
    const links = rightLinks()
    links[2].set(nth(2), STALE)
    await withChain(links, (last) => {
      let error: unknown
      try {
        expectChainEqualsProcess(last, sleeper.pid)
      } catch (thrown) {
        error = thrown
      }
      expect(isChainMismatch(error) ? error.pages : []).toEqual([nth(2)])
      expect(String(error)).toContain(
        `0x${(nth(2) * pageSize()).toString(16)}  ${readChain(last).dirs[0] ?? ''}`,
      )
    })
  })

  it.each<[string, (links: Links) => void, RegExp]>([
    ['whose page only the grandparent has', (links) => links[1].delete(nth(5)), /is a hole, and not in the/],
    ['in the first link', (links) => links[0].set(nth(5), 'parent'), /\/1: page .* is a hole/],
  ])('refuses a hole %s', async (_, spoil, message) => {
    const links = rightLinks()
    spoil(links)
    await withChain(links, (last) => {
      expect(() => expectChainEqualsProcess(last, sleeper.pid)).toThrow(message)
    })
  })

  it.each<[string, (all: string) => void, RegExp]>([
    ['links in a loop', (all) => symlinkSync('../3', join(all, '1/parent')), /loop/],
    ['a link to itself', (all) => symlinkSync('.', join(all, '1/parent')), /loop/],
    ['a link that leads nowhere', (all) => rmSync(join(all, '1'), { recursive: true }), /leads nowhere/],
    ['an absolute link', (all) => symlinkSync(join(all, '2'), join(all, '1/parent')), /not relative/],
    ['too short a pages file', (all) => truncateSync(join(all, '2/pages-1.img'), pageSize()), /wants/],
    ['too long a pages file', (all) => truncateSync(join(all, '2/pages-1.img'), 4 * pageSize()), /wants/],
    ['no pages file', (all) => rmSync(join(all, '2/pages-1.img')), /has 0 bytes/],
    ['a torn pagemap', (all) => truncateSync(join(all, '3/pagemap-1.img'), 20), /middle of a message/],
    ['two pagemaps', (all) => writeFileSync(join(all, '3/pagemap-2.img'), ''), /2 pagemaps/],
  ])('refuses %s', async (_, spoil, message) => {
    await withChain(rightLinks(), (last, all) => {
      spoil(all)
      expect(() => expectChainEqualsProcess(last, sleeper.pid)).toThrow(message)
    })
  })
})

describe('the chain oracle reads an entry', () => {
  const address = 8 * pageSize()
  const content = Buffer.alloc(2 * pageSize(), 7)

  async function chainOf(entries: readonly Fields[], bytes = content): Promise<readonly number[]> {
    let pages: number[] = []
    await withTempDir(async (directory) => {
      writeImages(join(directory, '1'), entries, bytes)
      pages = [...readChain(join(directory, '1')).pages.keys()]
    })
    return pages
  }

  it.each<[string, Fields]>([
    ['with both counts, of which the 64-bit one counts', [[1, address], [2, 1], [4, 4], [5, 2]]], // prettier-ignore
    ['with the 32-bit count only', [[1, address], [2, 2], [4, 4]]], // prettier-ignore
    ['without flags', [[1, address], [2, 2]]], // prettier-ignore
    ['that may be restored lazily', [[1, address], [4, 6], [5, 2]]], // prettier-ignore
    ['that is present and in the parent, as present', [[1, address], [4, 5], [5, 2]]], // prettier-ignore
  ])('%s', async (_, fields) => {
    expect(await chainOf([fields])).toEqual([8, 9])
  })

  it.each<[string, readonly Fields[], RegExp]>([
    ['overlap', [entryFields(8, 2, 4), entryFields(9, 1, 4)], /begins before/],
    ['descend', [entryFields(8, 1, 4), entryFields(3, 1, 4)], /begins before/],
    ['have no pages', [entryFields(8, 0, 4)], /without pages/],
    ['have no flag', [entryFields(8, 2, 0)], /flags 0/],
    ['are only lazy', [entryFields(8, 2, 2)], /flags 2/],
    ['begin within a page', [[[1, address + 1], [4, 4], [5, 2]]], /address/], // prettier-ignore
    ['are in the parent by the old field alone', [[[1, address], [2, 2], [3, 1]]], /is a hole/], // prettier-ignore
  ])('and refuses entries that %s', async (_, entries, message) => {
    await expect(chainOf(entries)).rejects.toThrow(message)
  })

  it('and tens of thousands of pages over eight links in well under a second', async () => {
    await withTempDir(async (directory) => {
      const pages = 40_000
      writeImages(join(directory, '1'), [entryFields(8, pages, 4)], Buffer.alloc(pages * pageSize()))
      for (let link = 2; link <= 8; link += 1) {
        const holes = [entryFields(8, pages, 1)]
        writeImages(join(directory, String(link)), holes, Buffer.alloc(0), `../${link - 1}`)
      }
      const start = performance.now()
      expect(readChain(join(directory, '8')).pages.size).toBe(pages)
      expect(performance.now() - start).toBeLessThan(5000)
      expect(readFileSync(join(directory, '8/pages-1.img'))).toHaveLength(0)
    })
  })
})

function ascending(pages: ReadonlyMap<number, Held>): Map<number, Held> {
  return new Map([...pages].sort(([a], [b]) => a - b))
}
