/** Whether a chain of images is whole and sound, and whether it is what a process holds now. */
import { readlinkSync } from 'node:fs'
import { join } from 'node:path'
import { allocateBitmap, forEachSpan } from '../core/bitmap.js'
import { rowAt, type LocatedPages } from '../core/chain-pages.js'
import { countPages } from '../core/page-runs.js'
import { planPages, type DumpPlan } from '../core/plan.js'
import { codeOf, messageOf, TidemarkError } from '../errors.js'
import { openChain, type Chain, type ChainLink } from '../image/chain.js'
import { readInventory } from '../image/inventory.js'
import { PARENT_LINK, type Manifest } from '../image/manifest.js'
import { PE_PRESENT } from '../image/pagemap.js'
import { readSnapshot } from '../image/snapshot.js'
import { monotonicMicros } from '../kernel/clock.js'
import { pageSize } from '../kernel/page-size.js'
import { examineTarget } from '../kernel/target.js'
import { captureTarget } from './capture.js'
import type { WindowInput } from './frozen-window.js'
import { settle, type DumpOptions } from './options.js'
import type { Taken } from './taken.js'
import { UNTRACKED } from './tracking.js'

/** One link of a chain. */
export interface VerifiedLink {
  readonly folder: string
  /** Empty for images that CRIU wrote. */
  readonly snapshotId: string
  readonly kind: Manifest['kind'] | 'criu'
  readonly pagesStored: number
  readonly pagesInParent: number
}

/** What the comparison with a process found. Addresses in hex. */
export interface Comparison {
  readonly pid: number
  /** Pages that the process holds. */
  readonly pages: number
  readonly same: number
  /** Pages whose bytes differ, or that the snapshot lacks. */
  readonly different: number
  /** The first of them. */
  readonly firstDifferent: readonly string[]
  /** Pages that the snapshot lists and the process does not hold. */
  readonly notHeld: number
  readonly frozenUs: number
}

/** What verification found. */
export interface Verification {
  readonly imagesDir: string
  /** The snapshot, its parent and so on; empty where they could not be opened. */
  readonly links: readonly VerifiedLink[]
  /** Pages of the snapshot, wherever their content lies. */
  readonly pages: number
  /** What is wrong with the images; empty where nothing is. */
  readonly problems: readonly string[]
  /** Undefined where no process was compared, or the images are damaged. */
  readonly comparison: Comparison | undefined
}

/** Options of the comparison with a process. */
export type CompareOptions = Pick<
  DumpOptions,
  'pid' | 'workers' | 'shardPages' | 'bufferSize' | 'maxMemory' | 'maxFrozenMs' | 'timeoutMs' | 'signal'
>

const SHOWN = 10

/**
 * Checks every image of the chain in `imagesDir`: magic, framing, sizes, order, overlap, holes, ids and loops; and,
 * where `compare` is given, every page with the frozen process. Damage is told, not thrown.
 */
export async function verify(imagesDir: string, compare?: CompareOptions): Promise<Verification> {
  let chain: Chain
  try {
    chain = openChain(imagesDir)
  } catch (error) {
    if (codeOf(error) !== 'BAD_IMAGE') throw error
    return { imagesDir, links: [], pages: 0, problems: [messageOf(error)], comparison: undefined }
  }
  try {
    const problems = [
      ...lostProblems(chain),
      ...chain.links.flatMap((_, index) => linkProblems(chain, index)),
    ]
    const comparable = compare !== undefined && problems.length === 0
    return {
      imagesDir,
      links: chain.links.map(describeLink),
      pages: countPages(chain.located),
      problems,
      comparison: comparable ? await compareWithProcess(chain, compare) : undefined,
    }
  } finally {
    chain.close()
  }
}

function describeLink({ folder, manifest, pagemap }: ChainLink): VerifiedLink {
  let pagesStored = 0
  let pagesInParent = 0
  for (let row = 0; row < pagemap.count; row++) {
    if (((pagemap.flags[row] ?? 0) & PE_PRESENT) !== 0) pagesStored += pagemap.pageCount[row] ?? 0
    else pagesInParent += pagemap.pageCount[row] ?? 0
  }
  return {
    folder,
    snapshotId: manifest?.snapshotId ?? '',
    kind: manifest?.kind ?? 'criu',
    pagesStored,
    pagesInParent,
  }
}

function lostProblems({ lost, links, pageSize: size }: Chain): string[] {
  return lost.map(({ link, startPage, pages }) => {
    const where = `${hex(startPage, size)} (${String(pages)} pages)`
    return `${links[link]?.folder ?? ''}: the pages at ${where} are left to a parent that does not list them`
  })
}

/** What is wrong with one link by itself, and with its place in the chain. */
function linkProblems({ links, pid, pageSize: size }: Chain, index: number): string[] {
  const link = links[index]
  if (link?.manifest === undefined) return []
  const { folder, manifest } = link
  return [
    ...inventoryProblem(folder),
    ...outsideProblems(link, pid, size),
    ...parentProblems(folder, manifest, links[index + 1]),
    ...identityProblems(folder, manifest, links[index + 1]?.manifest),
  ]
}

function inventoryProblem(folder: string): string[] {
  try {
    readInventory(folder)
    return []
  } catch (error) {
    return [messageOf(error)]
  }
}

/** Entries that lie in no VMA: restoring fails at them. */
function outsideProblems({ folder, pagemap }: ChainLink, pid: number, size: number): string[] {
  const snapshot = readSnapshot(folder)
  snapshot.close()
  const vmas = snapshot.images.mm.vmas
  const problems: string[] = []
  let index = 0
  for (let row = 0; row < pagemap.count; row++) {
    const start = pagemap.startPage[row] ?? 0
    const end = start + (pagemap.pageCount[row] ?? 0)
    let at = start
    while (at < end && index < vmas.length) {
      const vma = vmas[index]
      if (vma === undefined || Number(vma.start / BigInt(size)) > at) break
      const vmaEnd = Number(vma.end / BigInt(size))
      if (vmaEnd > at) at = Math.min(end, vmaEnd)
      if (vmaEnd <= at) index++
    }
    if (at < end)
      problems.push(`${folder}: pagemap-${String(pid)}.img: the page at ${hex(at, size)} is in no VMA`)
    if (problems.length === SHOWN) break
  }
  return problems
}

function parentProblems(folder: string, manifest: Manifest, parent: ChainLink | undefined): string[] {
  const said = manifest.parent
  if (said === undefined)
    return parent === undefined ? [] : [`${folder}: it has a parent link, but was written as a full snapshot`]
  if (parent === undefined) return [`${folder}: its link to the parent (${said.link}) is missing`]
  const problems: string[] = []
  const link = readlinkSync(join(folder, PARENT_LINK))
  if (link !== said.link)
    problems.push(`${folder}: the parent link leads to ${link}, it was written for ${said.link}`)
  const id = parent.manifest?.snapshotId ?? ''
  if (id !== said.snapshotId) {
    problems.push(
      `${folder}: the parent must be snapshot ${said.snapshotId || 'by CRIU'}, but ${parent.folder} is ${id || 'by CRIU'}`,
    )
  }
  return problems
}

function identityProblems(folder: string, manifest: Manifest, parent: Manifest | undefined): string[] {
  if (parent === undefined) return []
  const fields = ['pid', 'startTimeTicks', 'bootId', 'auxRandom'] as const
  return fields
    .filter((field) => manifest.target[field] !== parent.target[field])
    .map((field) => `${folder}: it is of another process than its parent (${field})`)
}

/** Takes the process's memory as a full dump does, and compares it after the thaw. */
async function compareWithProcess(chain: Chain, compare: CompareOptions): Promise<Comparison> {
  const settings = settle({ ...compare, imagesDir: '.', capture: 'copy' }, 'dump')
  const target = examineTarget(settings.pid)
  return await captureTarget(settings, target, UNTRACKED, monotonicMicros(), {
    open: ({ plan }) => {
      if (planPages(plan) * pageSize() <= settings.maxMemory) return NO_FILE
      throw tooLarge(planPages(plan) * pageSize(), settings.maxMemory)
    },
    save: async (window, taken) => await compareTaken(chain, window, taken),
  })
}

/** No descriptor: nothing is streamed, all is compared in memory. */
const NO_FILE = -1

function tooLarge(needed: number, limit: number): TidemarkError {
  return new TidemarkError(
    'BAD_OPTION',
    `comparing takes ${String(needed)} bytes of memory, and --max-memory is ${String(limit)}; raise it`,
    { option: 'max-memory' },
  )
}

async function compareTaken(chain: Chain, window: WindowInput, taken: Taken): Promise<Comparison> {
  const { plan, stagedPages } = taken.captured
  const same = allocateBitmap(planPages(plan))
  await window.crew.run({
    ...{ kind: 'compare', plan, stagedPages, same, located: chain.located },
    stagingAddress: window.stagingAddress,
    batchPages: window.batchPages,
    bufferAddress: window.stagingAddress + window.stagingBytes,
    pagesFds: chain.links.map(({ pagesFd }) => pagesFd),
  })
  const { different, first } = differences(plan, same)
  const pages = planPages(plan)
  return {
    pid: window.target.pid,
    pages,
    same: pages - different,
    different,
    firstDifferent: first.map((page) => hex(page, pageSize())),
    notHeld: countPages(chain.located) - listedPages(plan, chain.located),
    frozenUs: taken.releasedUs - taken.held.begunMicros,
  }
}

function differences(plan: DumpPlan, same: Int32Array): { different: number; first: number[] } {
  let different = 0
  const first: number[] = []
  for (let run = 0; run < plan.runCount; run++) {
    const from = plan.offsetPages[run] ?? 0
    forEachSpan(same, from, plan.offsetPages[run + 1] ?? 0, (start, end, isSame) => {
      if (isSame) return
      different += end - start
      for (let at = start; at < end && first.length < SHOWN; at++)
        first.push((plan.startPage[run] ?? 0) + at - from)
    })
  }
  return { different, first }
}

/** Pages of `plan` that the chain lists. */
function listedPages(plan: DumpPlan, located: LocatedPages): number {
  let pages = 0
  for (let run = 0; run < plan.runCount; run++) {
    const start = plan.startPage[run] ?? 0
    const end = start + (plan.offsetPages[run + 1] ?? 0) - (plan.offsetPages[run] ?? 0)
    for (let row = rowAt(located, start); row < located.count; row++) {
      const first = located.startPage[row] ?? 0
      if (first >= end) break
      pages += Math.min(end, first + (located.pageCount[row] ?? 0)) - Math.max(start, first)
    }
  }
  return pages
}

function hex(page: number, size: number): string {
  return '0x' + (BigInt(page) * BigInt(size)).toString(16)
}
