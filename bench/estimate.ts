/** How long a benchmark will take, told before it begins. */
import type { Maker } from './candidates.js'
import { bytesOf, type Shape } from './shapes.js'

const GIB = 2 ** 30

/**
 * Seconds on an idle machine with two cores, to tmpfs: the start, each GiB, and each thousand VMAs.
 * gcore's start has the symbols of the victim in it, which is Node.
 */
const COST: Readonly<
  Record<Maker, { readonly start: number; readonly perGib: number; readonly perThousandVmas: number }>
> = {
  tidemark: { start: 0.6, perGib: 0.8, perThousandVmas: 0.05 },
  criu: { start: 0.1, perGib: 0.7, perThousandVmas: 0.02 },
  gcore: { start: 1.5, perGib: 0.7, perThousandVmas: 0.1 },
}
const WARMING = { start: 0.1, perGib: 0.5 }
const VICTIM = { start: 0.3, perGib: 0.6 }

/** Bytes that are touched and freed before a run that stores `bytes`: staging memory and page cache are both new to it, and some more. */
export function warmBytes(bytes: number): number {
  return 2.5 * bytes + GIB / 2
}

/** Seconds for `runs` runs of each of `makers`, and the victim's start. */
export function estimateSeconds(shape: Shape, makers: readonly Maker[], runs: number): number {
  const gib = bytesOf(shape) / GIB
  const warming = WARMING.start + (WARMING.perGib * warmBytes(bytesOf(shape))) / GIB
  const round = makers.reduce((sum, maker) => {
    const { start, perGib, perThousandVmas } = COST[maker]
    return sum + warming + start + perGib * gib + (perThousandVmas * shape.vmas) / 1000
  }, 0)
  return VICTIM.start + VICTIM.perGib * gib + runs * round
}

/** `seconds` for people: `40 s`, `12 min`. */
export function formatEstimate(seconds: number): string {
  return seconds < 90 ? `${Math.ceil(seconds)} s` : `${Math.ceil(seconds / 60)} min`
}
