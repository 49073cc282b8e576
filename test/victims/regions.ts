/**
 * A region of the `hard` victim, as its facts tell it: where it is, and which of its pages a snapshot must hold.
 */
import { hex } from './memory.js'

/** Pages `[first, first + count)` of a region, counted from its start. */
export type PageRun = readonly [first: number, count: number]

/** What a snapshot must hold of a region; `either` where a snapshot with and one without its pages are right. */
export type Expectation = 'stored' | 'none' | 'mixed' | 'either'

/** One region. */
export interface Region {
  readonly name: string
  /** Address in hex. */
  readonly start: string
  readonly pages: number
  readonly expect: Expectation
  /** Pages that must be stored, ascending; empty with `none` and `either`. */
  readonly stored: readonly PageRun[]
}

/** What became of one attempt to make regions; `missing` says what the kernel does not have. */
export interface Attempt {
  readonly regions: readonly Region[]
  readonly missing: readonly string[]
}

/** A region whose every page is stored. */
export function allStored(name: string, address: number, pages: number): Region {
  return { name, start: hex(address), pages, expect: 'stored', stored: [[0, pages]] }
}

/** A region of which nothing is stored. */
export function noneStored(name: string, address: number, pages: number): Region {
  return { name, start: hex(address), pages, expect: 'none', stored: [] }
}

/** A region whose pages may be stored or not. */
export function eitherStored(name: string, address: number, pages: number): Region {
  return { name, start: hex(address), pages, expect: 'either', stored: [] }
}

/** A region of which exactly the pages of `stored` are stored. */
export function someStored(name: string, address: number, pages: number, stored: readonly PageRun[]): Region {
  return { name, start: hex(address), pages, expect: 'mixed', stored }
}

/** The region that `make` returns, or a note that the kernel lacks `name`. */
export function optionalRegion(name: string, make: () => Region): Attempt {
  try {
    return { regions: [make()], missing: [] }
  } catch (error) {
    return { regions: [], missing: [`${name} (${String(error)})`] }
  }
}
