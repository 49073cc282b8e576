/**
 * The tracker that needs nothing: a page is dirty if its bytes differ from the parent's. The comparison is made after
 * the thaw, on what was captured, so the target stands as long as for a full dump.
 */
import type { Tracker } from './tracker.js'

/** The tracker. */
export const contentTracker: Tracker = {
  name: 'content',
  dirtyBit: 'all',
  hasIntervals: false,
  prepare: () => undefined,
  notice: () => '',
  state: () => ({}),
  reset: () => undefined,
  giveUp: () => false,
  close: () => undefined,
}
