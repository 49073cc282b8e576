/** The aims of the project as a table, and how far what was measured is from them. Pure. */
import type { Measured } from './figures.js'
import { formatNumber } from './table.js'

/** What an aim allows: a part of the peer's figure, and some milliseconds more. */
interface Limit {
  readonly part: number
  readonly plusMs: number
}

/** One aim. */
export interface Aim {
  readonly work: string
  /** `tmpfs`, or any other file system. */
  readonly target: 'tmpfs' | 'disk'
  readonly candidate: string
  /** `frozen`; `work`, the wall time without start-up; `wall`, all of it. */
  readonly figure: 'frozen' | 'work' | 'wall'
  readonly limit: Limit
  /** What to hold against, in milliseconds, where CRIU cannot be measured on the machine. */
  readonly floorMs?: number
}

/** An aim and what came of it. */
export interface Judged {
  readonly aim: Aim
  /** Milliseconds; undefined where it was not measured. */
  readonly value: number | undefined
  readonly peer: number | undefined
  readonly allowed: number | undefined
}

/** The name of an increment in the results. */
export function incrementName(shape: string, dirtyRatio: number, pattern: string): string {
  return dirtyRatio === 0 ? `${shape}, nothing dirty` : `${shape}, ${dirtyRatio * 100} % ${pattern}`
}

const TARGETS = ['tmpfs', 'disk'] as const

const FULL: readonly {
  readonly shape: string
  readonly copy?: Readonly<Record<Aim['target'], number>>
  readonly fork: Readonly<Record<Aim['target'], number>>
  readonly wall: Limit
}[] = [
  {
    shape: '1g-100',
    copy: { tmpfs: 1 / 5, disk: 1 / 4 },
    fork: { tmpfs: 1 / 15, disk: 1 / 10 },
    wall: { part: 1, plusMs: 200 },
  },
  {
    shape: '1g-10000',
    copy: { tmpfs: 1 / 4, disk: 1 / 4 },
    fork: { tmpfs: 1 / 8, disk: 1 / 8 },
    wall: { part: 1, plusMs: 200 },
  },
  { shape: '4g-1000', fork: { tmpfs: 1 / 15, disk: 1 / 15 }, wall: { part: 0.7, plusMs: 0 } },
]

/**
 * CRIU has no increments on a kernel without soft-dirty. So this is a floor, fixed, not of the same run: a final dump with
 * every page in the parent to tmpfs, measured with CRIU 4.2 made to believe that soft-dirty exists, on two cores of such
 * a machine, Linux 6.18; without the walk that clears the bits, and without the faults that they cost.
 */
const FLOORS: readonly { readonly shape: string; readonly frozenMs: number; readonly wallMs: number }[] = [
  { shape: '1g-100', frozenMs: 56, wallMs: 95 },
  { shape: '1g-10000', frozenMs: 148, wallMs: 181 },
  { shape: '4g-1000', frozenMs: 190, wallMs: 243 },
]

/** Parts of the memory that the target writes before an increment for which there is an aim. */
export const AIM_RATIOS: readonly number[] = [0, 0.01]
/** Which pages it writes: spread evenly is the dearest. */
export const AIM_PATTERN = 'scattered'
/** Shapes for which there are aims. */
export const AIM_SHAPES: readonly string[] = FULL.map(({ shape }) => shape)

const fullAims = FULL.flatMap(({ shape, copy, fork, wall }) =>
  TARGETS.flatMap((target) => {
    const ways = [
      ...(copy === undefined ? [] : [['copy', copy[target]] as const]),
      ['fork', fork[target]] as const,
    ]
    return ways.flatMap(([way, part]): Aim[] => {
      const common = { work: shape, target, candidate: `tidemark ${way}` }
      return [
        { ...common, figure: 'frozen', limit: { part, plusMs: 0 } },
        { ...common, figure: 'work', limit: wall },
        { ...common, figure: 'wall', limit: wall },
      ]
    })
  }),
)

const incrementAims = FLOORS.flatMap(({ shape, frozenMs, wallMs }) =>
  AIM_RATIOS.flatMap((ratio): Aim[] => {
    const common = {
      work: incrementName(shape, ratio, AIM_PATTERN),
      target: 'tmpfs' as const,
      candidate: 'uffd-wp copy',
    }
    const wall = { part: 1, plusMs: 300 }
    return [
      { ...common, figure: 'frozen', limit: { part: 1 / 3, plusMs: 0 }, floorMs: frozenMs },
      // What CRIU does outside of the frozen window is its start-up.
      { ...common, figure: 'work', limit: wall, floorMs: frozenMs },
      { ...common, figure: 'wall', limit: wall, floorMs: wallMs },
    ]
  }),
)

/** All aims. */
export const AIMS: readonly Aim[] = [...fullAims, ...incrementAims]

/** Every aim, with what was measured. */
export function judgeAims(measured: readonly Measured[]): Judged[] {
  const valueOf = ({ work, target, figure }: Aim, candidate: string): number | undefined =>
    measured.find(
      (one) =>
        one.shape === work &&
        (one.target === 'tmpfs') === (target === 'tmpfs') &&
        one.candidate === candidate,
    )?.figures[figure]?.median
  return AIMS.map((aim) => {
    const peer = aim.floorMs ?? valueOf(aim, 'criu')
    const allowed = peer === undefined ? undefined : peer * aim.limit.part + aim.limit.plusMs
    return { aim, value: valueOf(aim, aim.candidate), peer, allowed }
  })
}

/** `met, by 12 %`, `missed, by 2.0 times`, `not measured`. */
export function verdictOf({ value, allowed }: Judged): string {
  if (value === undefined || allowed === undefined) return 'not measured'
  const ratio = value / allowed
  if (ratio <= 1) return `met, ${((1 - ratio) * 100).toFixed(0)} % below`
  return `missed, ${formatNumber(value - allowed)} ms (${ratio.toFixed(2)} times)`
}

/** Heads of the columns of {@link aimsRows}. */
export const AIMS_HEAD: readonly string[] = [
  'work',
  'to',
  'candidate',
  'figure',
  'ms',
  "CRIU's",
  'ratio',
  'aim',
  'allowed ms',
  'verdict',
]

/** The table's rows. */
export function aimsRows(judged: readonly Judged[]): string[][] {
  return judged.map((one) => {
    const { aim, value, peer, allowed } = one
    return [
      aim.work,
      aim.target,
      aim.candidate,
      FIGURE_TEXT[aim.figure],
      formatNumber(value),
      `${formatNumber(peer)}${aim.floorMs === undefined ? '' : ' (fixed)'}`,
      value === undefined || peer === undefined ? '-' : (value / peer).toFixed(3),
      formatLimit(aim.limit),
      formatNumber(allowed),
      verdictOf(one),
    ]
  })
}

const FIGURE_TEXT: Readonly<Record<Aim['figure'], string>> = {
  frozen: 'frozen',
  work: 'wall without start-up',
  wall: 'wall with start-up',
}

function formatLimit({ part, plusMs }: Limit): string {
  const text = part < 0.5 ? `1/${Math.round(1 / part)}` : String(part)
  return plusMs === 0 ? text : `${text} + ${plusMs / 1000} s`
}
