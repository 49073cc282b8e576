/** The file that `--json` writes and `bench:compare` reads. */
import { readFileSync, writeFileSync } from 'node:fs'
import { isFacts } from '../test/support/facts.js'
import type { Measured, Spread } from './figures.js'
import type { Machine } from './machine.js'

/** A change to the form of the file that an older reader would misread gets the next number. */
const FORMAT = 'tidemark-bench-1'

/** All of a benchmark. */
export interface Results {
  readonly format: string
  readonly machine: Machine
  /** Runs wanted of each candidate. */
  readonly runs: number
  readonly measured: readonly Measured[]
}

/** Results as they are written. */
export function resultsOf(machine: Machine, runs: number, measured: readonly Measured[]): Results {
  return { format: FORMAT, machine, runs, measured }
}

/** Writes `results` to `path`. */
export function writeResults(path: string, results: Results): void {
  writeFileSync(path, `${JSON.stringify(results, undefined, 2)}\n`)
}

/** The measurements in the file at `path`. Throws where it is none of ours. */
export function readMeasured(path: string): Measured[] {
  return parseMeasured(readFileSync(path, 'utf8'), path)
}

/** The measurements in `text`. Throws, naming `path`, where it is none of ours. */
export function parseMeasured(text: string, path: string): Measured[] {
  const value: unknown = JSON.parse(text)
  if (!isFacts(value) || value.format !== FORMAT || !Array.isArray(value.measured)) {
    throw new Error(`${path}: no results of this benchmark (format ${FORMAT})`)
  }
  return value.measured.map((one: unknown) => {
    if (!isMeasured(one)) throw new Error(`${path}: not a measurement: ${JSON.stringify(one)}`)
    return one
  })
}

function isMeasured(value: unknown): value is Measured {
  if (!isFacts(value) || !isFacts(value.figures)) return false
  const { shape, target, candidate, runs, rejected, disturbed, notes } = value
  return (
    [shape, target, candidate].every((text) => typeof text === 'string') &&
    [runs, rejected].every((count) => typeof count === 'number') &&
    typeof disturbed === 'boolean' &&
    Array.isArray(notes) &&
    Object.values(value.figures).every(isSpread)
  )
}

function isSpread(value: unknown): value is Spread {
  return isFacts(value) && [value.median, value.min, value.max].every((number) => typeof number === 'number')
}
