import { afterAll, beforeAll, describe, expect, it } from '@jest/globals'
import { allocateBitmap, testBit } from '../../src/core/bitmap.js'
import {
  CHUNK_PAGES,
  chunkDirectory,
  pageOfSlot,
  slotCount,
  type ChunkDirectory,
} from '../../src/core/chunks.js'
import { buildSegments } from '../../src/core/segments.js'
import { cutShards, shardsOfChunks, type Shards } from '../../src/core/shards.js'
import { probeKernel, type KernelFeatures } from '../../src/kernel/features.js'
import { addVmFlags, parseMaps } from '../../src/kernel/maps-text.js'
import { openPagemap } from '../../src/kernel/open-pagemap.js'
import { readProc } from '../../src/kernel/procfs.js'
import { TargetMemory } from '../../src/kernel/target-memory.js'
import type { ScanJob } from '../../src/tasks/jobs.js'
import { ShardScanner } from '../../src/tasks/scan-shard.js'
import { objectsFact } from '../support/facts.js'
import { pageSize } from '../support/kernel-vmas.js'
import { expectedPages, withProcessPages, type ExpectedPages } from '../support/oracle.js'
import { firstPage } from '../support/pages.js'
import { describeIf, isRoot, kernelAtLeast } from '../support/privileges.js'
import { suspend } from '../support/processes.js'
import { startVictim, type Victim } from '../support/victim.js'

const features = probeKernel()

/** What a scan of all shards came to. */
interface Scanned {
  /** Pages whose present bit is set, ascending. */
  readonly present: readonly number[]
  readonly dirty: readonly number[]
  readonly pages: number
  readonly unreadablePages: number
  readonly slotlessChunks: readonly number[]
  /** Ranges of guard pages, as the scanner listed them. */
  readonly guards: readonly number[]
}

interface ScanOptions {
  readonly chunks: ChunkDirectory
  readonly shards: Shards
  readonly features?: KernelFeatures
  readonly frozen?: boolean
  readonly coverGaps?: boolean
  /** Numbers of the shards, in the order in which they are scanned; all from the first on unless said. */
  readonly order?: (shards: number[]) => number[]
}

function inOrder(shards: number[]): number[] {
  return shards
}

function scan(pid: number, options: ScanOptions): Scanned {
  const { chunks, shards, frozen = true, coverGaps = false, order = inOrder } = options
  const maps = readProc(`/proc/${String(pid)}/maps`) ?? Buffer.alloc(0)
  const smaps = readProc(`/proc/${String(pid)}/smaps`) ?? Buffer.alloc(0)
  const joinGaps = (options.features ?? features).pagemapScan
  const segments = buildSegments(addVmFlags(parseMaps(maps, pageSize()), smaps, pageSize()), joinGaps)
  const present = allocateBitmap(slotCount(chunks))
  const dirty = allocateBitmap(slotCount(chunks))
  const known = options.features ?? features
  const job: ScanJob = {
    kind: 'scan',
    dirtyBit: known.softDirty ? 'soft-dirty' : 'all',
    ...{ pid, tid: pid, features: known, chunks, segments, shards, coverGaps, present, dirty, frozen },
  }
  const source = openPagemap(pid, known, job.dirtyBit)
  const memory = new TargetMemory(pid, pid)
  try {
    const scanner = new ShardScanner(job, source, memory)
    for (const shard of order(Array.from({ length: shards.count }, (_, index) => index))) scanner.scan(shard)
    scanner.finish()
    const { pages, unreadable, slotlessChunks, guards } = scanner
    const facts = { pages, unreadablePages: unreadable.length, slotlessChunks, guards }
    return { present: setPages(chunks, present), dirty: setPages(chunks, dirty), ...facts }
  } finally {
    memory.close()
    source.close()
  }
}

function setPages(chunks: ChunkDirectory, bitmap: Int32Array): number[] {
  const pages: number[] = []
  for (let slot = 0; slot < slotCount(chunks); slot += 1) {
    if (testBit(bitmap, slot)) pages.push(pageOfSlot(chunks, slot))
  }
  return pages
}

/** Those of `pages` that are all zeros. */
function zeroPages(pid: number, pages: readonly number[]): number[] {
  const zeros = Buffer.alloc(pageSize())
  return withProcessPages(pid, (readPage) => pages.filter((page) => readPage(page).equals(zeros)))
}

describe('scanning shards', () => {
  let victim: Victim
  let expected: ExpectedPages
  let chunks: ChunkDirectory
  let guarded: number
  /** Without CAP_SYS_ADMIN the oracle takes the zero page for others, as the kernel's scan does not. */
  let doubtful: ReadonlySet<number>

  beforeAll(async () => {
    victim = await startVictim('hard')
    await suspend(victim.pid)
    expected = expectedPages(victim.pid)
    const pages = [...expected.required, ...expected.optional]
    chunks = chunkDirectory(pages.map((page) => Math.floor(page / CHUNK_PAGES)))
    const zeros = isRoot ? [] : zeroPages(victim.pid, expected.required)
    doubtful = new Set([...expected.optional, ...zeros])
    const region = objectsFact(victim.facts, 'regions').find((each) => each.name === 'guarded')
    guarded = region === undefined ? NaN : firstPage(region)
  })
  afterAll(() => victim.stop())

  const evenShards = (shardPages: number): Shards =>
    cutShards(new Int32Array(chunks.count).fill(CHUNK_PAGES), shardPages)

  /** `pages` without those that may or may not be stored. */
  const certain = (pages: readonly number[]): number[] => pages.filter((page) => !doubtful.has(page))

  it.each([1, 33, 1000, 4096, 70_000, 2 ** 40])(
    'sets exactly the bits of the pages to store, in shards of %d pages',
    (shardPages) => {
      for (const coverGaps of [false, true]) {
        const scanned = scan(victim.pid, { chunks, shards: evenShards(shardPages), coverGaps })
        expect(certain(scanned.present)).toEqual(certain(expected.required))
        expect(scanned.pages).toBe(scanned.present.length)
        expect(scanned.slotlessChunks).toEqual([])
      }
    },
  )

  it('sets the same bits in whatever order the shards come', () => {
    const shards = evenShards(500)
    const forwards = scan(victim.pid, { chunks, shards })
    const backwards = scan(victim.pid, { chunks, shards, order: (all) => all.reverse() })
    expect(backwards.present).toEqual(forwards.present)
    expect(backwards.pages).toBe(forwards.pages)
  })

  it('sets no bit outside of the one shard that it scans', () => {
    const shards = evenShards(1000)
    const all = scan(victim.pid, { chunks, shards }).present
    for (const shard of [0, 1, Math.floor(shards.count / 2), shards.count - 1]) {
      const from = pageOfSlot(chunks, shards.startSlot[shard] ?? 0)
      const to = pageOfSlot(chunks, (shards.endSlot[shard] ?? 0) - 1)
      const { present } = scan(victim.pid, { chunks, shards, order: () => [shard] })
      expect(present).toEqual(all.filter((page) => from <= page && page <= to))
    }
  })

  it('sets the same bits from both sources of page bits', () => {
    const shards = evenShards(3000)
    const read = scan(victim.pid, { chunks, shards, features: { ...features, pagemapScan: false } })
    expect(certain(read.present)).toEqual(certain(expected.required))
  })

  it('takes every page as dirty where no bit tells, guard pages too', () => {
    const known = { ...features, softDirty: false }
    const { present, dirty } = scan(victim.pid, { chunks, shards: evenShards(5000), features: known })
    const seen = new Set(dirty)
    expect(present.filter((page) => !seen.has(page))).toEqual([])
  })

  it.each([1, 2, 3])('notes the chunks that hold pages and have no slots, over %d shards', (count) => {
    const numbers = [...chunks.numbers]
    const left = numbers.filter((_, index) => index % 3 === 1)
    const known = chunkDirectory(left)
    const shards = cutShards(new Int32Array(known.count).fill(1), Math.ceil(known.count / count))
    const whole = scan(victim.pid, { chunks, shards: evenShards(2 ** 40) })
    const scanned = scan(victim.pid, { chunks: known, shards, coverGaps: true })
    const chunkOf = (page: number): number => Math.floor(page / CHUNK_PAGES)
    expect(scanned.present).toEqual(whole.present.filter((page) => left.includes(chunkOf(page))))
    const missing = new Set(whole.present.map(chunkOf).filter((chunk) => !left.includes(chunk)))
    expect(scanned.slotlessChunks).toEqual([...missing])
  })

  it.each([true, false])('finds every chunk when it knows none, with PAGEMAP_SCAN: %s', (pagemapScan) => {
    const none = chunkDirectory([])
    const known = { ...features, pagemapScan: features.pagemapScan && pagemapScan }
    const scanned = scan(victim.pid, {
      chunks: none,
      shards: shardsOfChunks([0]),
      features: known,
      coverGaps: true,
    })
    const whole = scan(victim.pid, { chunks, shards: evenShards(2 ** 40) })
    expect(scanned.present).toEqual([])
    // The huge zero page is one of them where the kernel does not tell it apart.
    expect(scanned.slotlessChunks).toEqual(
      expect.arrayContaining([...new Set(whole.present.map((page) => Math.floor(page / CHUNK_PAGES)))]),
    )
  })

  describeIf(kernelAtLeast(6, 13), 'guard pages need Linux 6.13')('over guard pages', () => {
    it('lists them where the kernel tells them apart, and stores none', () => {
      if (!features.guardCategory) return
      const { guards, unreadablePages } = scan(victim.pid, { chunks, shards: evenShards(2 ** 40) })
      expect(guards).toEqual([guarded + 16, guarded + 32])
      expect(unreadablePages).toBe(0)
    })

    it('lists each of them once where shards cut their range', () => {
      if (!features.guardCategory) return
      const { guards } = scan(victim.pid, { chunks, shards: evenShards(1) })
      const pages = guards.flatMap((start, index) =>
        index % 2 === 0
          ? Array.from({ length: (guards[index + 1] ?? 0) - start }, (_, each) => start + each)
          : [],
      )
      expect(pages).toEqual(Array.from({ length: 16 }, (_, index) => guarded + 16 + index))
    })

    it('finds by reading which they are, where the kernel shows them as swapped out', () => {
      const older = { ...features, guardCategory: false }
      const scanned = scan(victim.pid, { chunks, shards: evenShards(777), features: older })
      expect(certain(scanned.present)).toEqual(certain(expected.required))
      expect([scanned.unreadablePages, scanned.guards]).toEqual([16, []])
    })

    it('takes them as swapped out while the target runs, since reading could fault', () => {
      const older = { ...features, guardCategory: false }
      const { present, unreadablePages } = scan(victim.pid, {
        chunks,
        shards: evenShards(777),
        features: older,
        frozen: false,
      })
      const inGuards = present.filter((page) => page >= guarded + 16 && page < guarded + 32)
      expect([inGuards.length, unreadablePages]).toEqual([16, 0])
    })
  })
})
