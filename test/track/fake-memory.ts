/**
 * Memory and a tracker that are nothing but a map: what the contract of trackers asks for, in the plainest form.
 */
import type { Tracker, TrackerState } from '../../src/track/tracker.js'
import type { TrackedMemory } from './contract.js'

/** Some memory, empty. */
export function fakeMemory(): TrackedMemory {
  /** Whether each page that holds something was written since the reset. */
  const pages = new Map<number, boolean>()
  let next = 1000
  const each = (page: number, count: number, use: (page: number) => void): void => {
    for (let at = page; at < page + count; at++) use(at)
  }
  const write = (page: number, count: number): void => {
    each(page, count, (at) => pages.set(at, true))
  }
  const map = (count: number): number => {
    const page = next
    next += count + 1
    write(page, count)
    return page
  }
  return {
    map,
    write,
    move: (page, count) => {
      const moved = next
      next += count + 1
      each(page, count, (at) => {
        if (pages.delete(at)) pages.set(moved + at - page, true)
      })
      return moved
    },
    discard: (page, count) => {
      each(page, count, (at) => pages.delete(at))
    },
    open: (state) => fakeTracker(state, () => [...pages.keys()].forEach((page) => pages.set(page, false))),
    prepare: (tracker) => {
      tracker.prepare({ vmas: [], usesUserfaultfd: () => false, openUserfaultfd: () => 7 })
    },
    reset: (tracker) => {
      tracker.reset({ vmas: [], protect: () => undefined })
    },
    look: (_tracker, page, count) =>
      [...pages.keys()].filter((at) => at >= page && at < page + count && pages.get(at)),
    end: () => undefined,
  }
}

function fakeTracker(known: TrackerState, clean: () => void): Tracker {
  let fd = known.userfaultfd?.fd
  let hasBegun = false
  return {
    name: 'uffd-wp',
    dirtyBit: 'written',
    hasIntervals: true,
    prepare: ({ openUserfaultfd }) => {
      hasBegun = fd === undefined
      fd ??= openUserfaultfd()
    },
    notice: () => (hasBegun ? 'begun' : ''),
    state: () => (fd === undefined ? {} : { userfaultfd: { fd, inode: 1 } }),
    reset: clean,
    giveUp: (close) => {
      if (!hasBegun || fd === undefined) return false
      close(fd)
      fd = undefined
      hasBegun = false
      return true
    },
    close: () => undefined,
  }
}
