/**
 * Values for the core's tests, written as one would draw them: plans as runs, VMAs as lines of maps.
 */
import { NO_RUNS, type PageRuns } from '../../src/core/page-runs.js'
import type { DumpPlan } from '../../src/core/plan.js'
import type { Vma } from '../../src/core/vma.js'

/** First page and number of pages. */
export type Run = readonly [startPage: number, pages: number]

/** The plan that consists of `runs`. */
export function planOfRuns(runs: readonly Run[]): DumpPlan {
  const offsets = [0]
  for (const [, pages] of runs) offsets.push((offsets.at(-1) ?? 0) + pages)
  return {
    runCount: runs.length,
    startPage: Float64Array.from(runs, ([start]) => start),
    offsetPages: Float64Array.from(offsets),
    holes: NO_RUNS,
  }
}

/** The columns of `runs`, as they are: not merged. */
export function runsOf(runs: readonly Run[]): PageRuns {
  return {
    count: runs.length,
    startPage: Float64Array.from(runs, ([start]) => start),
    pageCount: Float64Array.from(runs, ([, pages]) => pages),
  }
}

/** The rows of columns. */
export function listRuns(runs: PageRuns): Run[] {
  return Array.from({ length: runs.count }, (_, run): Run => [
    runs.startPage[run] ?? NaN,
    runs.pageCount[run] ?? NaN,
  ])
}

/** Every page of `runs`, one by one, in order. */
export function pagesOfRuns(runs: readonly Run[]): number[] {
  return runs.flatMap(([start, pages]) => Array.from({ length: pages }, (_, index) => start + index))
}

/** The runs that `pages`, in ascending order, make: the slow way, a page at a time. */
export function runsOfPages(pages: readonly number[]): Run[] {
  const runs: [number, number][] = []
  for (const page of pages) {
    const last = runs.at(-1)
    if (last !== undefined && last[0] + last[1] === page) last[1]++
    else runs.push([page, 1])
  }
  return runs
}

/** Runs and offsets of `plan` as plain lists. */
export function listPlan(plan: DumpPlan): { runs: Run[]; offsets: number[] } {
  const offsets = [...plan.offsetPages]
  const runs = [...plan.startPage].map((start, run): Run => [
    start,
    (offsets[run + 1] ?? NaN) - (offsets[run] ?? NaN),
  ])
  return { runs, offsets }
}

/**
 * The VMA of one line of maps (4 KiB pages).
 *
 * @param flags - its VmFlags, as smaps prints them; none were read unless said
 */
export function vmaOfLine(line: string, flags?: string): Vma {
  const found = /^(\w+)-(\w+) (\S{4}) (\w+) (\w+):(\w+) (\d+) *(.*)$/s.exec(line)
  if (found === null) throw new Error(`not a line of maps: ${line}`)
  const [, start = '', end = '', rights = '', offset = '', major = '', minor = '', inode = '', path = ''] =
    found
  return {
    startPage: Number(BigInt(`0x${start}`) / 4096n),
    endPage: Number(BigInt(`0x${end}`) / 4096n),
    read: rights.startsWith('r'),
    write: rights[1] === 'w',
    execute: rights[2] === 'x',
    shared: rights[3] === 's',
    fileOffset: parseInt(offset, 16),
    devMajor: parseInt(major, 16),
    devMinor: parseInt(minor, 16),
    inode: Number(inode),
    path,
    flags: flags === undefined ? undefined : new Set(flags.split(' ')),
  }
}
