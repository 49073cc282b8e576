/**
 * Soft-dirty: a bit in each page table entry that the CPU's write fault sets, cleared for a whole process at once.
 *
 * The bit is the process's only one: whoever else clears it (CRIU, a garbage collector) ends our interval too,
 * which the canary shows.
 *
 * source: Documentation/admin-guide/mm/soft-dirty.rst
 */
import { ClearRefs } from '../kernel/clear-refs.js'
import type { Tracker } from './tracker.js'

/** The tracker for the process of thread `tid`. Throws `PERMISSION_DENIED` or `TARGET_DIED`. */
export function softDirtyTracker(tid: number): Tracker {
  const refs = new ClearRefs(tid)
  return {
    name: 'soft-dirty',
    dirtyBit: 'soft-dirty',
    hasIntervals: true,
    prepare: () => undefined,
    notice: () => '',
    state: () => ({}),
    reset: () => {
      refs.clearSoftDirty()
    },
    giveUp: () => false,
    close: () => {
      refs.close()
    },
  }
}
