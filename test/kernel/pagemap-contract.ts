/**
 * What every source of page bits must do: one suite, run over each implementation, on the same stopped victims.
 */
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals'
import {
  allocateRanges,
  RANGE_DIRTY,
  RANGE_GUARD,
  RANGE_SWAPPED,
  type PageRanges,
} from '../../src/core/page-ranges.js'
import { buildSegments, SEGMENT_CLASS, type Segments } from '../../src/core/segments.js'
import { probeKernel } from '../../src/kernel/features.js'
import { addVmFlags, parseMaps } from '../../src/kernel/maps-text.js'
import type { PagemapSource } from '../../src/kernel/pagemap-source.js'
import { readProc } from '../../src/kernel/procfs.js'
import { numberFact, numbersFact, objectsFact } from '../support/facts.js'
import { pageSize } from '../support/kernel-vmas.js'
import { expectedPages } from '../support/oracle.js'
import { firstPage, pagesFrom } from '../support/pages.js'
import { suspend } from '../support/processes.js'
import { startVictim, withVictim, type Victim } from '../support/victim.js'
import { isWanted, slowPages } from './slow-pagemap.js'

/** Opens the implementation under test on thread `tid`. */
export type Opener = (tid: number) => PagemapSource

/** A page that a scan told, with its flags. */
type Told = readonly [page: number, flags: number]

/** A segment of a victim. */
export interface Segment {
  readonly from: number
  readonly to: number
  readonly storeClass: number
}

/** Nobody fills more of one VMA here; the slow twin reads an entry of each page. */
const LARGEST_PAGES = 2 ** 22

/** The segments of `pid` that are asked of a source: not those that are stored whole, nor ones of gigabytes. */
export function segmentsOf(pid: number): Segment[] {
  const maps = readProc(`/proc/${String(pid)}/maps`) ?? Buffer.alloc(0)
  const smaps = readProc(`/proc/${String(pid)}/smaps`) ?? Buffer.alloc(0)
  const vmas = addVmFlags(parseMaps(maps, pageSize()), smaps, pageSize())
  // Gaps of the address space are terabytes: each VMA is a segment here, as a reader of entries needs it.
  return vmas
    .flatMap((vma) => rowsOf(buildSegments([vma], true)))
    .filter(({ from, to }) => to - from < LARGEST_PAGES)
}

function rowsOf(segments: Segments): Segment[] {
  return [...segments.startPage]
    .map((from, index) => ({
      from,
      to: segments.endPage[index] ?? from,
      storeClass: segments.storeClass[index] ?? SEGMENT_CLASS.whole,
    }))
    .filter(({ storeClass }) => storeClass !== SEGMENT_CLASS.whole)
}

/** Every page that scans of the segment tell, call after call, each with room for `capacity` ranges. */
export function scanAll(source: PagemapSource, segment: Segment, capacity: number): Told[] {
  const ranges = allocateRanges(capacity)
  const told: Told[] = []
  for (let at = segment.from; at < segment.to;) {
    const next = source.scan(at, segment.to, segment.storeClass, ranges)
    if (next <= at || ranges.count > capacity) throw new Error(`no way on from page ${at} to ${next}`)
    for (const page of pagesIn(ranges)) told.push(page)
    at = next
  }
  return told
}

function pagesIn(ranges: PageRanges): Told[] {
  const told: Told[] = []
  for (let row = 0; row < ranges.count; row += 1) {
    const end = ranges.endPage[row] ?? 0
    for (let page = ranges.startPage[row] ?? 0; page < end; page += 1)
      told.push([page, ranges.flags[row] ?? 0])
  }
  return told
}

/** The same, by the slow twin. Without soft-dirty bits every page counts as dirty. */
function slowScan(pid: number, { from, to, storeClass }: Segment): Told[] {
  const features = probeKernel()
  return slowPages(pid, from, to)
    .filter((page) => isWanted(page, storeClass) && !page.hugeZero)
    .map(({ page, swapped, guard, softDirty }): Told => [
      page,
      (softDirty || !features.softDirty ? RANGE_DIRTY : 0) +
        (swapped ? RANGE_SWAPPED : 0) +
        (guard && features.guardCategory ? RANGE_GUARD : 0),
    ])
}

/** `told` without the huge zero page, which a source may tell or not. */
export function withoutHugeZero(pid: number, { from, to }: Segment, told: readonly Told[]): Told[] {
  const doubtful = new Set(slowPages(pid, from, to).flatMap(({ page, hugeZero }) => (hugeZero ? [page] : [])))
  return told.filter(([page]) => !doubtful.has(page))
}

/** Declares the suite for one implementation. */
export function testSource(name: string, open: Opener): void {
  describe(name, () => {
    const victims = new Map<string, Victim>()
    const victim = (which: string): Victim => {
      const found = victims.get(which)
      if (found === undefined) throw new Error(`no victim ${which}`)
      return found
    }
    const withSource = <Result>(
      which: string,
      use: (source: PagemapSource, pid: number) => Result,
    ): Result => {
      const { pid } = victim(which)
      const source = open(pid)
      try {
        return use(source, pid)
      } finally {
        source.close()
      }
    }

    beforeAll(async () => {
      const started = await Promise.all([
        startVictim('hard'),
        startVictim('sparse', ['--span', '4', '--pages', '20']),
        startVictim('plain', ['--vmas', '1', '--pages-per-vma', '40000']),
        startVictim('plain', ['--vmas', '300', '--pages-per-vma', '3', '--gap']),
      ])
      for (const [index, which] of ['hard', 'sparse', 'every-other', 'plain'].entries()) {
        const one = started[index]
        if (one !== undefined) victims.set(which, one)
      }
      await victim('every-other').request('discard 20000')
      await Promise.all(started.map(({ pid }) => suspend(pid)))
    })

    afterAll(async () => {
      await Promise.all([...victims.values()].map(({ stop }) => stop()))
    })

    it.each(['hard', 'sparse', 'plain'])('tells every page to store of the %s victim', (which) => {
      withSource(which, (source, pid) => {
        for (const segment of segmentsOf(pid)) {
          const told = withoutHugeZero(pid, segment, scanAll(source, segment, 20_000))
          expect([segment, told]).toEqual([segment, slowScan(pid, segment)])
        }
      })
    })

    it('tells the very pages of the hard victim that the oracle wants, and its guard pages', () => {
      withSource('hard', (source, pid) => {
        const { required, optional } = expectedPages(pid)
        const told = segmentsOf(pid).flatMap((segment) => scanAll(source, segment, 1000))
        const stored = told.filter(([page, flags]) => (flags & RANGE_GUARD) === 0 && !optional.has(page))
        const inSegments = pagesOf(segmentsOf(pid))
        expect(stored.map(([page]) => page)).toEqual(required.filter((page) => inSegments.has(page)))
        const guards = told.filter(([, flags]) => (flags & RANGE_GUARD) !== 0).map(([page]) => page)
        const region = objectsFact(victim('hard').facts, 'regions').find((each) => each.name === 'guarded')
        const known = probeKernel().guardCategory && region !== undefined
        expect(guards).toEqual(known ? pagesFrom(firstPage(region) + 16, 16) : [])
      })
    })

    it.each([1, 2, 7])('loses and repeats nothing with room for %d ranges a call', (capacity) => {
      withSource('hard', (source, pid) => {
        for (const segment of segmentsOf(pid)) {
          expect(scanAll(source, segment, capacity)).toEqual(scanAll(source, segment, 20_000))
        }
      })
    })

    it.each([1, 1000, 20_000])('tells every other page of a VMA with room for %d ranges', (capacity) => {
      withSource('every-other', (source) => {
        const { facts } = victim('every-other')
        const from = firstPage(facts)
        const pages = capacity === 1 ? 4000 : numberFact(facts, 'totalPages')
        const segment = { from, to: from + pages, storeClass: SEGMENT_CLASS.anonymous }
        const told = scanAll(source, segment, capacity).map(([page]) => page)
        expect(told).toHaveLength(pages / 2)
        expect(told.filter((page, index) => page !== from + 2 * index + 1)).toEqual([])
      })
    })

    it('joins pages of one fate, across VMAs too, and parts those with a gap between', () => {
      withSource('hard', (source) => {
        const region = objectsFact(victim('hard').facts, 'regions').find((each) => each.name === 'neighbours')
        const from = firstPage(region ?? {})
        const ranges = allocateRanges(10)
        expect(source.scan(from, from + 32, SEGMENT_CLASS.anonymous, ranges)).toBe(from + 32)
        expect([ranges.count, ranges.startPage[0], ranges.endPage[0]]).toEqual([1, from, from + 32])
      })
      withSource('plain', (source) => {
        const from = firstPage(victim('plain').facts)
        const ranges = allocateRanges(1000)
        expect(source.scan(from, from + 4 * 300, SEGMENT_CLASS.anonymous, ranges)).toBe(from + 1200)
        expect(ranges.count).toBe(300)
        expect([...ranges.startPage.subarray(0, 300)]).toEqual(
          Array.from({ length: 300 }, (_, index) => from + 4 * index),
        )
        expect([...ranges.endPage.subarray(0, 300)]).toEqual(
          Array.from({ length: 300 }, (_, index) => from + 4 * index + 3),
        )
      })
    })

    it('forgets what it told before', () => {
      withSource('plain', (source) => {
        const from = firstPage(victim('plain').facts)
        const ranges = allocateRanges(10)
        source.scan(from, from + 12, SEGMENT_CLASS.anonymous, ranges)
        expect(source.scan(from + 3, from + 4, SEGMENT_CLASS.anonymous, ranges)).toBe(from + 4)
        expect(ranges.count).toBe(0)
        source.scan(from, from, SEGMENT_CLASS.anonymous, ranges)
        expect(ranges.count).toBe(0)
      })
    })

    it('finds the few pages of a sparse gibibyte, a few ranges at a time', () => {
      withSource('sparse', (source) => {
        const { facts } = victim('sparse')
        const from = firstPage(facts)
        const to = from + numberFact(facts, 'spanPages')
        const found: number[] = []
        const ranges = allocateRanges(7)
        for (let at = from; at < to;) {
          at = source.scan(at, to, SEGMENT_CLASS.anonymous, ranges)
          for (let row = 0; row < ranges.count; row += 1) {
            for (let page = ranges.startPage[row] ?? 0; page < (ranges.endPage[row] ?? 0); page += 1)
              found.push(page)
          }
        }
        expect(found).toEqual(numbersFact(facts, 'pages'))
      })
    })

    it('fails with TARGET_DIED when the process has ended, and takes none for empty', async () => {
      await withVictim('plain', [], async ({ pid, facts, stop }) => {
        const source = open(pid)
        const from = firstPage(facts)
        const died = expect.objectContaining({ code: 'TARGET_DIED' })
        try {
          const ranges = allocateRanges(10)
          expect(source.scan(from, from + 160, SEGMENT_CLASS.anonymous, ranges)).toBe(from + 160)
          expect(ranges.startPage[0]).toBe(from)
          await stop()
          expect(() => source.scan(from, from + 160, SEGMENT_CLASS.anonymous, allocateRanges(10))).toThrow(
            died,
          )
        } finally {
          source.close()
        }
      })
    })

    it('describes each page of the hard victim as the twin does', () => {
      withSource('hard', (source, pid) => {
        for (const region of objectsFact(victim('hard').facts, 'regions')) {
          const from = firstPage(region)
          const to = from + Math.min(400, numberFact(region, 'pages'))
          const facts = new Map(slowPages(pid, from, to).map((page) => [page.page, page]))
          for (let page = from; page < to; page += 1) {
            const twin = facts.get(page)
            if (twin?.hugeZero === true) continue
            const { present, swapped, file, guard, zero, softDirty } = source.describe(page)
            expect([page, present, swapped, guard, zero, softDirty]).toEqual([
              page,
              twin?.present ?? false,
              twin?.swapped ?? false,
              twin !== undefined && twin.guard && probeKernel().guardCategory,
              twin?.zero ?? false,
              probeKernel().softDirty ? twin?.softDirty === true : undefined,
            ])
            if (twin !== undefined) expect([page, file]).toEqual([page, twin.file])
          }
        }
      })
    })
  })
}

function pagesOf(segments: readonly Segment[]): { has: (page: number) => boolean } {
  return { has: (page) => segments.some(({ from, to }) => from <= page && page < to) }
}
