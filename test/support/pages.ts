/**
 * Page numbers, as tests name them by what victims say.
 */
import { readFileSync } from 'node:fs'
import { pageContent } from '../victims/content.js'
import { type Facts, listFact, numberFact } from './facts.js'
import { pageSize } from './kernel-vmas.js'
import { withProcessPages } from './oracle.js'

/** First page number of what `facts` name as `start`. */
export function firstPage(facts: Facts): number {
  return numberFact(facts, 'start') / pageSize()
}

/** `count` page numbers from `first` on. */
export function pagesFrom(first: number, count: number): number[] {
  return Array.from({ length: count }, (_, index) => first + index)
}

/** Page numbers of a region of the `hard` victim that must be stored. */
export function storedPagesOf(region: Facts): number[] {
  return listFact(region, 'stored').flatMap((run) => {
    const [offset = 0, count = 0] = Array.isArray(run) ? run.map(Number) : []
    return pagesFrom(firstPage(region) + offset, count)
  })
}

/** Those of `pages` that lie in the region, ascending. */
export function within(pages: Iterable<number>, region: Facts): number[] {
  const first = firstPage(region)
  const end = first + numberFact(region, 'pages')
  return [...pages].filter((page) => page >= first && page < end)
}

/** Those of `pages` of `pid` that do not hold the victims' content of `seed`. */
export function pagesUnlike(pid: number, pages: readonly number[], seed: number): number[] {
  return withProcessPages(pid, (readPage) =>
    pages.filter((page) => !readPage(page).equals(pageContent(page, seed))),
  )
}

/** Resident KiB of the VMA of process `pid` that begins where `facts` name as `start`. */
export function residentKib(pid: number, facts: Facts): number {
  const address = (firstPage(facts) * pageSize()).toString(16)
  const smaps = readFileSync(`/proc/${String(pid)}/smaps`, 'latin1')
  const entry = smaps.slice(smaps.search(new RegExp(`^0*${address}-`, 'm')))
  return Number(/^Rss:\s+(\d+) kB/m.exec(entry)?.[1])
}
