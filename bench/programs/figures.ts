/** What `npm run bench:programs` finds out. */
import type { Capture } from '../dump-run.js'
import type { Latencies } from './latencies.js'

/** What clients saw of one kind of dump of one program. */
export interface ProgramFigures {
  readonly program: string
  readonly capture: Capture
  /** Dumps that were captured otherwise after all. */
  readonly otherwise: number
  readonly kind: 'full' | 'increment'
  /** What finds the changes; empty for a full dump. */
  readonly tracker: string
  readonly runs: number
  /** Increments that became full dumps. */
  readonly fullAfterAll: number
  /** Why any dump was captured otherwise or full after all. */
  readonly reasons: readonly string[]
  readonly storedBytes: number
  /** Median and largest. */
  readonly frozenMs: number
  readonly maxFrozenMs: number
  /** The tool's own time. */
  readonly wallMs: number
  readonly before: Latencies
  readonly during: Latencies
}

/** Figures, and why others are missing. */
export interface ProgramResults {
  readonly figures: readonly ProgramFigures[]
  readonly skipped: Readonly<Record<string, string>>
  readonly failed: Readonly<Record<string, string>>
}
