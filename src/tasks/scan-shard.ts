/**
 * Fills the bitmaps for one shard: the bits of one page, third hop of its way.
 *
 *   shard      slots [startSlot, endSlot) --> pages [from, to), gaps between chunks included
 *   segments   |  anonymous   |  |file|   each cut to [from, to) and asked in one go
 *   ranges     from the kernel, marked as bits of the slots that stand for them
 */
import { setBits } from '../core/bitmap.js'
import { CHUNK_PAGES, lowerChunk, pageOfSlot } from '../core/chunks.js'
import {
  allocateRanges,
  RANGE_DIRTY,
  RANGE_GUARD,
  RANGE_SWAPPED,
  type PageRanges,
} from '../core/page-ranges.js'
import { firstSegmentAfter, SEGMENT_CLASS } from '../core/segments.js'
import { swaplessWatched } from '../kernel/maps-text.js'
import { pageSize } from '../kernel/page-size.js'
import type { PagemapSource } from '../kernel/pagemap-source.js'
import { readProc } from '../kernel/procfs.js'
import type { TargetMemory } from '../kernel/target-memory.js'
import type { ScanJob } from './jobs.js'

const RANGES_PER_CALL = 16_384

/** Ranges of the last call. One for all jobs of a thread. */
const ranges: PageRanges = allocateRanges(RANGES_PER_CALL)

/** In which a page that was on its way from one frame to another has arrived. */
const MIGRATION_MS = 10

const pause = new Int32Array(new SharedArrayBuffer(4))

/** Pages that look swapped out and may be markers. */
interface Doubtful {
  readonly start: number
  readonly end: number
  readonly storeClass: number
}

/** Scans shards of one job on one thread. */
export class ShardScanner {
  readonly #job: ScanJob
  readonly #source: PagemapSource
  readonly #memory: TargetMemory
  /** Index in the directory of the chunk that was marked last: the next one is mostly it, or the one after. */
  #chunk = 0
  readonly #doubtful: Doubtful[] = []
  pages = 0
  /** Numbers of pages that are there but cannot be read. */
  readonly unreadable: number[] = []
  /** Numbers of chunks that hold pages and have no slots, ascending. */
  readonly slotlessChunks: number[] = []
  /** First page and end of each range of guard pages, in turn. */
  readonly guards: number[] = []

  constructor(job: ScanJob, source: PagemapSource, memory: TargetMemory) {
    this.#job = job
    this.#source = source
    this.#memory = memory
  }

  /** Sets the present and dirty bits of shard `index`. */
  scan(index: number): void {
    const { segments } = this.#job
    const [from, to] = this.#pagesOf(index)
    for (let segment = firstSegmentAfter(segments, from); segment < segments.count; segment++) {
      const start = segments.startPage[segment] ?? 0
      if (start >= to) return
      const end = Math.min(to, segments.endPage[segment] ?? 0)
      this.#scanSegment(Math.max(from, start), end, segments.storeClass[segment] ?? 0)
    }
  }

  /**
   * Marks what looked swapped out and was left in doubt: a page in swap, a marker, or a page on its way to another frame,
   * which arrives soon. Called once, after the last shard.
   */
  finish(): void {
    if (this.#doubtful.length === 0) return
    if (this.#job.frozen) Atomics.wait(pause, 0, 0, MIGRATION_MS)
    const rows: { readonly start: number; readonly end: number; readonly flags: number }[] = []
    for (const doubtful of this.#doubtful)
      this.#rescan(doubtful, (start, end, flags) => rows.push({ start, end, flags }))
    // Read after the last look: what went to swap before that is counted here.
    const smaps = readProc(`/proc/${String(this.#job.tid)}/smaps`) ?? Buffer.alloc(0)
    const watched = swaplessWatched(smaps, pageSize())
    rows.sort((a, b) => a.start - b.start)
    let index = 0
    for (const { start, end, flags } of rows) {
      for (let at = start; at < end;) {
        while (index < watched.length && (watched[index + 1] ?? 0) <= at) index += 2
        const markers = Math.min(end, Math.max(at, watched[index] ?? end))
        const stop = Math.min(end, watched[index + 1] ?? end)
        this.#markSwapped(at, markers, flags)
        this.#markChanged(markers, stop)
        at = stop
      }
    }
  }

  /**
   * First page and end of shard `index`. In a job that covers everything it reaches to where the next one
   * begins, so that each page of the address space, slot or no slot, is looked at by exactly one shard.
   */
  #pagesOf(index: number): [from: number, to: number] {
    const { chunks, shards, coverGaps } = this.#job
    const from = pageOfSlot(chunks, shards.startSlot[index] ?? 0)
    if (!coverGaps) return [from, pageOfSlot(chunks, (shards.endSlot[index] ?? 0) - 1) + 1]
    const last = index === shards.count - 1
    return [index === 0 ? 0 : from, last ? Infinity : pageOfSlot(chunks, shards.startSlot[index + 1] ?? 0)]
  }

  #scanSegment(from: number, to: number, storeClass: number): void {
    if (storeClass === SEGMENT_CLASS.whole) {
      this.#mark(from, to, RANGE_DIRTY)
      return
    }
    for (let at = from; at < to;) {
      at = this.#source.scan(at, to, storeClass, ranges)
      for (let row = 0; row < ranges.count; row++) {
        const flags = ranges.flags[row] ?? 0
        const start = ranges.startPage[row] ?? 0
        const end = ranges.endPage[row] ?? 0
        if ((flags & RANGE_GUARD) !== 0) this.#noteGuard(start, end)
        else if ((flags & RANGE_SWAPPED) !== 0) this.#sift(start, end, flags, storeClass)
        else this.#mark(start, end, flags)
      }
    }
  }

  /** Marks what looks swapped out, but for markers; where the kernel does not tell them apart, that is left for the end. */
  #sift(start: number, end: number, flags: number, storeClass: number): void {
    if (!this.#source.seesMarkers) {
      this.#doubtful.push({ start, end, storeClass })
      return
    }
    this.#source.siftMarkers(start, end, (from, to, areMarkers) => {
      if (areMarkers) this.#markChanged(from, to)
      else this.#markSwapped(from, to, flags)
    })
  }

  /** Marks those of the pages that look swapped out, but come back from a second look some time later. */
  #rescan(
    { start, end, storeClass }: Doubtful,
    still: (start: number, end: number, flags: number) => void,
  ): void {
    for (let at = start; at < end;) {
      at = this.#source.scan(at, end, storeClass, ranges)
      for (let row = 0; row < ranges.count; row++) {
        const flags = ranges.flags[row] ?? 0
        const use = (flags & RANGE_SWAPPED) === 0 ? this.#mark.bind(this) : still
        use(ranges.startPage[row] ?? 0, ranges.endPage[row] ?? 0, flags)
      }
    }
  }

  /** Marks pages in swap. While the target stands each is read, since some cannot be: guard pages, poisoned ones. */
  #markSwapped(start: number, end: number, flags: number): void {
    if (!this.#job.frozen) {
      this.#mark(start, end, flags)
      return
    }
    for (let page = start; page < end; page++) {
      if (this.#memory.isReadable(page)) this.#mark(page, page + 1, flags)
      else {
        this.unreadable.push(page)
        this.#markChanged(page, page + 1)
      }
    }
  }

  #noteGuard(start: number, end: number): void {
    this.guards.push(start, end)
    this.#markChanged(start, end)
  }

  /** Marks pages that hold nothing as dirty, without being present: the tracker's reset may meet them. */
  #markChanged(start: number, end: number): void {
    for (let page = start; page < end;) {
      const chunk = Math.floor(page / CHUNK_PAGES)
      const stop = Math.min(end, (chunk + 1) * CHUNK_PAGES)
      if (this.#seekChunk(chunk)) {
        const slot = this.#chunk * CHUNK_PAGES + (page % CHUNK_PAGES)
        setBits(this.#job.dirty, slot, slot + stop - page)
      }
      page = stop
    }
  }

  #mark(start: number, end: number, flags: number): void {
    for (let page = start; page < end;) {
      const chunk = Math.floor(page / CHUNK_PAGES)
      const chunkEnd = Math.min(end, (chunk + 1) * CHUNK_PAGES)
      if (this.#seekChunk(chunk)) this.#setBits(page, chunkEnd, flags)
      else this.#noteSlotless(chunk)
      page = chunkEnd
    }
  }

  /** Sets the bits of pages [`start`, `end`), all in the current chunk. */
  #setBits(start: number, end: number, flags: number): void {
    const slot = this.#chunk * CHUNK_PAGES + (start % CHUNK_PAGES)
    setBits(this.#job.present, slot, slot + end - start)
    if ((flags & RANGE_DIRTY) !== 0) setBits(this.#job.dirty, slot, slot + end - start)
    this.pages += end - start
  }

  #noteSlotless(chunk: number): void {
    if (this.slotlessChunks.at(-1) !== chunk) this.slotlessChunks.push(chunk)
  }

  #seekChunk(chunk: number): boolean {
    const { numbers, count } = this.#job.chunks
    if (numbers[this.#chunk] !== chunk) this.#chunk = lowerChunk(this.#job.chunks, chunk)
    return this.#chunk < count && numbers[this.#chunk] === chunk
  }
}
