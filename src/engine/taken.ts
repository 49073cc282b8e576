/** What is known when the target runs on again: handed from the frozen window to the saving. */
import type { Held } from '../tasks/hold-target.js'
import type { Captured } from './frozen-window.js'
import type { TargetFacts } from './images.js'

/** The target's memory and facts, taken while it stood still. Times are microseconds of the monotonic clock. */
export interface Taken {
  readonly captured: Captured
  readonly facts: TargetFacts
  readonly held: Held
  readonly releasedUs: number
  readonly thawUs: number
  /** The target's children, who are not dumped. */
  readonly children: readonly number[]
  /** When the dump began. */
  readonly begunUs: number
  /** When all threads were there. */
  readonly startedUs: number
}
