import { expect, it } from '@jest/globals'
import { CHUNK_PAGES, chunkDirectory } from '../../src/core/chunks.js'
import { runBits } from '../../src/core/holes.js'
import { allocateRanges, RANGE_DIRTY } from '../../src/core/page-ranges.js'
import { SEGMENT_CLASS } from '../../src/core/segments.js'
import { cutShards } from '../../src/core/shards.js'
import { probeKernel } from '../../src/kernel/features.js'
import { memset } from '../../src/kernel/libc.js'
import { PagemapScanner } from '../../src/kernel/pagemap-scan.js'
import { allocateControl, CREW } from '../../src/tasks/control.js'
import type { ProtectJob } from '../../src/tasks/jobs.js'
import { protectPages } from '../../src/tasks/protect-pages.js'
import { runsOf, type Run } from '../core/builders.js'
import { withMapped, withUserfaultfd } from '../kernel/watched-memory.js'
import { pageSize } from '../support/kernel-vmas.js'
import { describeIf, kernelAtLeast } from '../support/privileges.js'

const PAGE = pageSize()
/** Pages of three chunks, wherever they begin. */
const PAGES = 2 * CHUNK_PAGES + 1
const features = probeKernel()

/** Runs `use` with the first page of memory that is watched and untouched. */
function withWatched(use: (first: number) => void): void {
  withUserfaultfd((uffd) => {
    uffd.enableAsyncWriteProtect()
    withMapped(PAGES, (address) => {
      expect(uffd.register(address / PAGE, address / PAGE + PAGES)).toBe(true)
      use(address / PAGE)
    })
  })
}

/** Writes to the pages of `runs`, counted from `first`. */
function write(first: number, runs: readonly Run[]): void {
  for (const [start, pages] of runs) memset((first + start) * PAGE, 7, pages * PAGE)
}

/** The job for the memory at `first`, of whose pages those of `dirty`, counted from there, were seen written. */
function jobOf(first: number, dirty: readonly Run[], shardPages = 1000): ProtectJob {
  const numbers = [0, CHUNK_PAGES, PAGES - 1].map((page) => Math.floor((first + page) / CHUNK_PAGES))
  const chunks = chunkDirectory(numbers)
  return {
    ...{ kind: 'protect', pid: process.pid, tid: process.pid, features, chunks, isRehearsal: false },
    segments: {
      count: 1,
      startPage: Float64Array.of(first),
      endPage: Float64Array.of(first + PAGES),
      storeClass: Uint8Array.of(SEGMENT_CLASS.anonymous),
    },
    shards: cutShards(new Int32Array(chunks.count).fill(CHUNK_PAGES), shardPages),
    dirty: runBits(chunks, runsOf(dirty.map(([start, pages]): Run => [first + start, pages]))),
  }
}

/** The pages that count as written since they were protected, counted from `first`. */
function writtenPages(first: number): number[] {
  const scanner = new PagemapScanner(process.pid, features, 'written')
  const ranges = allocateRanges(64)
  const written: number[] = []
  try {
    for (let at = first; at < first + PAGES;) {
      at = scanner.scan(at, first + PAGES, SEGMENT_CLASS.anonymous, ranges)
      for (let row = 0; row < ranges.count; row += 1) {
        if (((ranges.flags[row] ?? 0) & RANGE_DIRTY) === 0) continue
        for (let page = ranges.startPage[row] ?? 0; page < (ranges.endPage[row] ?? 0); page += 1)
          written.push(page - first)
      }
    }
    return written
  } finally {
    scanner.close()
  }
}

const protect = (job: ProtectJob): ReturnType<typeof protectPages> =>
  protectPages(job, allocateControl(CREW.words))

describeIf(kernelAtLeast(6, 7), 'PAGEMAP_SCAN needs Linux 6.7')('protecting pages', () => {
  it.each([100, 1000, 2 ** 20])('protects every written page, in shards of %d pages', (shardPages) => {
    withWatched((first) => {
      const runs: Run[] = [
        [3, 2],
        [CHUNK_PAGES - 40, 90],
        [PAGES - 1, 1],
      ]
      write(first, runs)
      const job = jobOf(first, runs, shardPages)
      expect(protect(job)).toEqual({ pieces: job.shards.count, pages: 93 })
      expect(writtenPages(first)).toEqual([])
      write(first, [
        [4, 1],
        [CHUNK_PAGES, 1],
      ])
      expect(writtenPages(first)).toEqual([4, CHUNK_PAGES])
    })
  })

  it('protects only what was written since the last time, and nothing where nothing was', () => {
    withWatched((first) => {
      write(first, [[10, 20]])
      protect(jobOf(first, [[10, 20]]))
      write(first, [[12, 3]])
      expect(protect(jobOf(first, [[12, 3]])).pages).toBe(3)
      expect(protect(jobOf(first, [])).pages).toBe(0)
    })
  })

  it('accepts pages that were seen written and are gone', () => {
    withWatched((first) => {
      write(first, [[10, 2]])
      expect(protect(jobOf(first, [[5, 90]])).pages).toBe(2)
    })
  })

  it.each([
    ['beside those that were', [10, 3], [10, 2]],
    ['in the middle of them', [10, 70], [11, 69]],
    ['in the next chunk', [CHUNK_PAGES - 60, 120], [CHUNK_PAGES - 60, 119]],
  ] as const)('fails on a written page that the scan had not seen: %s', (_, written, seen) => {
    withWatched((first) => {
      write(first, [written])
      const failing = (): unknown => protect(jobOf(first, [seen]))
      const details = { pid: process.pid }
      expect(failing).toThrow(expect.objectContaining({ code: 'TARGET_CHANGED', details }))
    })
  })

  it('fails on a written page whose chunk has no slots', () => {
    withWatched((first) => {
      write(first, [[0, PAGES]])
      const job = jobOf(first, [[0, PAGES]])
      expect(job.chunks.count).toBe(3)
      const chunks = chunkDirectory([...job.chunks.numbers].filter((_, index) => index !== 1))
      const dirty = runBits(chunks, runsOf([[first, PAGES]]))
      const shards = {
        count: 1,
        startSlot: Float64Array.of(0),
        endSlot: Float64Array.of(chunks.count * CHUNK_PAGES),
      }
      // One shard reaches over the chunk that is left out.
      expect(() => protect({ ...job, chunks, dirty, shards })).toThrow(
        expect.objectContaining({ code: 'TARGET_CHANGED' }),
      )
    })
  })

  it('fails on memory that nobody watches', () => {
    withMapped(PAGES, (address) => {
      write(address / PAGE, [[0, 4]])
      expect(() => protect(jobOf(address / PAGE, [[0, 4]]))).toThrow(
        expect.objectContaining({ code: 'SYSCALL_FAILED' }),
      )
    })
  })
})
