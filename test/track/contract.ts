/**
 * What every tracker must do: one suite, run against each of them on memory of this process, and against a fake.
 *
 *   begin: reset ─▶ write, map, move, discard ─▶ look: at least what was written ─▶ reset ─▶ ...
 */
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals'
import type { Tracker, TrackerState } from '../../src/track/tracker.js'

/** Memory that can be tracked. Pages are known by their numbers; all that is mapped is filled. */
export interface TrackedMemory {
  readonly map: (pages: number) => number
  readonly write: (page: number, pages: number) => void
  /** Moves mapped pages elsewhere, as mremap does; the first page's new number. */
  readonly move: (page: number, pages: number) => number
  /** Drops their content, as MADV_DONTNEED does. */
  readonly discard: (page: number, pages: number) => void
  /** A tracker that goes on from `state`. */
  readonly open: (state: TrackerState) => Tracker
  readonly prepare: (tracker: Tracker) => void
  readonly reset: (tracker: Tracker) => void
  /** Those of the pages that hold something and that `tracker` calls dirty, in order. */
  readonly look: (tracker: Tracker, page: number, pages: number) => number[]
  readonly end: () => void
}

/** Declares the suite for one implementation. */
export function testTracker(name: string, start: () => TrackedMemory): void {
  describe(`tracker ${name}`, () => {
    let memory: TrackedMemory
    let tracker: Tracker

    beforeEach(() => {
      memory = start()
      tracker = memory.open({})
    })
    afterEach(() => {
      tracker.close()
      memory.end()
    })

    /** Maps pages, and begins an interval. */
    const begin = (pages: number): number => {
      const page = memory.map(pages)
      memory.prepare(tracker)
      memory.reset(tracker)
      return page
    }
    /** Fails unless `dirty` of the pages at `page` are dirty, and, where the tracker has intervals, no other. */
    const expectDirty = (page: number, pages: number, dirty: readonly number[]): void => {
      const found = memory.look(tracker, page, pages)
      if (tracker.hasIntervals) expect(found).toEqual(dirty)
      else expect(found).toEqual(expect.arrayContaining([...dirty]))
    }

    it('calls clean what was not written since the reset', () => {
      const page = begin(8)
      expectDirty(page, 8, [])
    })

    it('calls dirty what was written since the reset, and clean after the next', () => {
      const page = begin(8)
      memory.write(page + 1, 2)
      memory.write(page + 6, 1)
      expectDirty(page, 8, [page + 1, page + 2, page + 6])
      expectDirty(page, 8, [page + 1, page + 2, page + 6])
      memory.reset(tracker)
      expectDirty(page, 8, [])
      memory.write(page + 3, 1)
      expectDirty(page, 8, [page + 3])
    })

    it('calls new memory dirty', () => {
      begin(2)
      const page = memory.map(4)
      expectDirty(page, 4, range(page, 4))
      memory.reset(tracker)
      expectDirty(page, 4, [])
    })

    it('calls memory dirty that was moved', () => {
      const moved = memory.move(begin(4), 4)
      expectDirty(moved, 4, range(moved, 4))
      memory.reset(tracker)
      memory.write(moved + 2, 1)
      expectDirty(moved, 4, [moved + 2])
    })

    it('says nothing of discarded memory, and calls it dirty when it is written anew', () => {
      const page = begin(4)
      memory.discard(page, 4)
      expectDirty(page, 4, [])
      memory.write(page + 1, 1)
      expectDirty(page, 4, [page + 1])
    })

    it('goes on in another object from its state, and has begun nothing there', () => {
      const page = begin(6)
      memory.write(page + 1, 1)
      // What a record keeps.
      const state = structuredClone(tracker.state())
      tracker.close()
      memory.write(page + 2, 1)
      tracker = memory.open(state)
      memory.prepare(tracker)
      memory.write(page + 4, 1)
      expectDirty(page, 6, [page + 1, page + 2, page + 4])
      expect([tracker.notice(), tracker.state()]).toEqual(['', state])
      expect(tracker.giveUp(neverClose)).toBe(false)
      memory.reset(tracker)
      expectDirty(page, 6, [])
    })

    it('takes off what it has begun, once', () => {
      begin(4)
      const hasBegun = tracker.notice() !== ''
      const closed: number[] = []
      const giveUp = (): boolean => tracker.giveUp((fd) => closed.push(fd))
      expect([giveUp(), giveUp(), closed.length]).toEqual([hasBegun, false, hasBegun ? 1 : 0])
    })

    it('never calls a page clean that was written, whatever else is done', () => {
      begin(1)
      for (let seed = 1; seed <= 12; seed++) runAtRandom(memory, tracker, seed)
    })
  })
}

/** Fifteen random deeds, each told by what must be dirty after it; then a reset. */
function runAtRandom(memory: TrackedMemory, tracker: Tracker, seed: number): void {
  const below = generator(seed)
  const pages = 16
  let page = memory.map(pages)
  let dirty = new Set(range(0, pages))
  for (let step = 0; step < 15; step++) {
    const first = below(pages)
    const count = 1 + below(pages - first)
    const touched = range(first, count)
    switch (below(5)) {
      case 0:
        memory.reset(tracker)
        dirty = new Set()
        break
      case 1:
        memory.discard(page + first, count)
        for (const index of touched) dirty.delete(index)
        break
      case 2:
        page = memory.move(page, pages)
        break
      default:
        memory.write(page + first, count)
        for (const index of touched) dirty.add(index)
    }
    const wanted = [...dirty].map((index) => page + index)
    expect([seed, step, memory.look(tracker, page, pages)]).toEqual([
      seed,
      step,
      expect.arrayContaining(wanted),
    ])
  }
  memory.reset(tracker)
}

function neverClose(): never {
  throw new Error('nothing was begun')
}

function range(first: number, count: number): number[] {
  return Array.from({ length: count }, (_, index) => first + index)
}

/** Whole numbers from 0 below the argument, the same ones for the same seed. mulberry32 */
function generator(seed: number): (below: number) => number {
  let state = seed
  return (below) => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below
  }
}
