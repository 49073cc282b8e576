/**
 * Chains of snapshots of a program that does random things to its memory: after each link the chain must be the
 * process, byte by byte, for every tracker.
 *
 *   steps ──▶ link 1 ──▶ steps ──▶ link 2 ──▶ ...      after each: chain oracle against the stopped process
 *
 * TIDEMARK_SEED=N begins with the chain of seed N; TIDEMARK_STEPS=F makes F times as many chains, and where time is
 * short TIDEMARK_CHAINS=N makes N, of TIDEMARK_LINKS=N links. A chain whose links are all taken at rest repeats
 * exactly; where the program runs on, the moment of the link is chance.
 */
import { randomInt } from 'node:crypto'
import { existsSync, readlinkSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it, jest } from '@jest/globals'
import { dump, readSnapshot } from '../../src/index.js'
import {
  type Chain,
  type ChainCounts,
  expectChainEqualsProcess,
  isChainMismatch,
  readChain,
  withChainPages,
} from '../support/chain-oracle.js'
import { listFact } from '../support/facts.js'
import { type Held, writeLink } from '../support/hand-made-images.js'
import { pageSize } from '../support/kernel-vmas.js'
import { describeIf, hasSoftDirty, kernelAtLeast } from '../support/privileges.js'
import { readMapsLines } from '../support/maps.js'
import { isStopped, resume, suspend, waitUntil } from '../support/processes.js'
import { canRunRandomProgram, NO_RANDOM_PROGRAM, randomProgram } from '../support/random-program.js'
import { dumpResult } from '../support/snapshots.js'
import { withTempDir } from '../support/tool.js'
import type { Victim } from '../support/victim.js'

type Tracker = 'soft-dirty' | 'uffd-wp' | 'content'

/** Takes link `link` of the chain in `directory`, the first has number 1, and leaves `pid` stopped. */
type Take = (pid: number, directory: string, link: number) => Promise<void>

/** Makes an increment wrong, at a page that has changed or at one that is gone. */
type Spoil = (at: { readonly changed: number; readonly gone: number }, pages: Map<number, Held>) => void

/** How the program is when a link is taken: stopped by a signal, waiting for a command, or in the midst of steps. */
type Moment = 'stopped' | 'waiting' | 'running'

const LINKS = Number(process.env.TIDEMARK_LINKS ?? 10)
const CHAINS = 4
const MOST_STEPS = 300
const TIMEOUT_MS = 300_000

/**
 * More than what any tracker stores anew of a process that has not run: [vdso], a canary, the stack by which we made it
 * call. But for private pages of files, all of which uffd-wp stores each time.
 */
const IDLE_PAGES = 64

const TRACKERS: readonly (readonly [tracker: Tracker, available: boolean, reason: string])[] = [
  ['soft-dirty', hasSoftDirty(), 'this kernel has no soft-dirty tracking'],
  ['uffd-wp', kernelAtLeast(6, 7), 'needs PAGEMAP_SCAN, Linux 6.7'],
  ['content', true, ''],
]

/** How all links are taken: we do not test the disk, and compare with the process as it was. */
const HOW = { sync: false, leaveStopped: true, maxFrozenMs: 60_000 }

const factor = Number(process.env.TIDEMARK_STEPS ?? 1)
const chains = Number(process.env.TIDEMARK_CHAINS ?? Math.max(1, Math.round(CHAINS * factor)))
const firstSeed = Number(process.env.TIDEMARK_SEED ?? randomInt(2 ** 31))
const seeds = Array.from({ length: chains }, (_, index) => firstSeed + index)

jest.setTimeout(TIMEOUT_MS)

describeIf(canRunRandomProgram, NO_RANDOM_PROGRAM)('a chain of snapshots of a random program', () => {
  const program = randomProgram()

  for (const [tracker, available, reason] of TRACKERS) {
    describeIf(available, reason)(`tracked by ${tracker}`, () => {
      it.each(seeds)('is the process after each link (seed %i)', async (seed) => {
        await program.run(hasHugePages(seed), async (victim) => {
          const [first, ...increments] = await takeChain(victim, seed, trackedBy(tracker))
          expect(first?.holes).toBe(0)
          expect(increments.filter(({ holes }) => holes === 0)).toEqual([])
        })
      })

      it('stores next to nothing of a process that has not run', async () => {
        await withTempDir(async (directory) => {
          await program.run(true, async (victim) => {
            await victim.request(`step 500 ${firstSeed}`)
            await suspend(victim.pid)
            for (let link = 1; link <= 4; link += 1) {
              await takeLink(victim, directory, link, trackedBy(tracker))
              if (link > 1)
                expect(anonymousPages(victim.pid, join(directory, String(link)))).toBeLessThanOrEqual(
                  IDLE_PAGES,
                )
            }
            await resume(victim.pid)
            await victim.request('step 100 1')
          })
        })
      })

      it('is the process when the command takes the links', async () => {
        await program.run(false, async (victim) => {
          await withTempDir(async (directory) => {
            for (let link = 1; link <= 3; link += 1) {
              const steps = `step 100 ${firstSeed + link}`
              const counts = await takeLinkAt('stopped', steps, victim, directory, link, commandedBy(tracker))
              expect(counts.holes > 0).toBe(link > 1)
            }
          })
        })
      })
    })
  }

  describe('without a tracker', () => {
    it('is the process after each full snapshot', async () => {
      await program.run(true, async (victim) => {
        const counts = await takeChain(victim, firstSeed, takeFull)
        expect(counts.filter(({ holes }) => holes > 0)).toEqual([])
      })
    })

    it('is the process after each increment that is made by hand', async () => {
      await program.run(true, async (victim) => {
        const counts = await takeChain(victim, firstSeed, madeByHand())
        expect(counts.slice(1).filter(({ holes }) => holes === 0)).toEqual([])
      })
    })

    it.each<[string, Spoil, RegExp]>([
      ['leaves out a change', ({ changed }, pages) => pages.set(changed, 'parent'), /1 with other bytes/],
      ['inherits what is gone', ({ gone }, pages) => pages.set(gone, 'parent'), /1 too much/],
      ['lacks a page', ({ changed }, pages) => pages.delete(changed), /1 missing/],
    ])('is found out where an increment %s', async (_, spoil, message) => {
      await withTempDir(async (directory) => {
        await program.run(true, async (victim) => {
          await takeLinkAt('stopped', 'step 300 1', victim, directory, 1, madeByHand())
          const second = takeLinkAt('stopped', 'step 300 2', victim, directory, 2, madeByHand(spoil))
          const error = await explained(await second.catch((thrown: unknown) => thrown), victim, 'here')
          expect(error.message).toMatch(message)
          expect(error.message).toContain('latest steps at 0x')
        })
      })
    })
  })
})

/** Takes all links of the chain of `seed`, with steps between them, and compares each. */
async function takeChain(victim: Victim, seed: number, take: Take): Promise<readonly ChainCounts[]> {
  const chance = generator(seed)
  const counts: ChainCounts[] = []
  await withTempDir(async (directory) => {
    for (let link = 1; link <= LINKS; link += 1) {
      const moment: Moment = (['stopped', 'waiting', 'running'] as const)[chance(3)] ?? 'stopped'
      const steps = `step ${1 + chance(MOST_STEPS)} ${chance(2 ** 31)}`
      try {
        counts.push(await takeLinkAt(moment, steps, victim, directory, link, take))
      } catch (error) {
        throw await explained(
          error,
          victim,
          `link ${link}, taken while ${moment}, after "${steps}"; seed ${seed}`,
        )
      }
    }
    // A later link must not have taken from an earlier one.
    for (let link = 1; link <= LINKS; link += 1) {
      const { pages, stored, holes } = readChain(join(directory, String(link)))
      expect({ pages: pages.size, stored, holes }).toEqual(counts[link - 1])
    }
  })
  return counts
}

/** Has the program do `steps`, takes the link at `moment` and leaves the program waiting. */
async function takeLinkAt(
  moment: Moment,
  steps: string,
  victim: Victim,
  directory: string,
  link: number,
  take: Take,
): Promise<ChainCounts> {
  const { pid } = victim
  const answer = victim.request(steps)
  if (moment !== 'running') await answer
  if (moment === 'stopped') await suspend(pid)
  const [counts] = await Promise.all([
    takeLink(victim, directory, link, take).finally(() => resume(pid)),
    answer,
  ])
  return counts
}

/** Takes a link, leaves the program stopped, and compares. */
async function takeLink({ pid }: Victim, directory: string, link: number, take: Take): Promise<ChainCounts> {
  await take(pid, directory, link)
  await waitUntil(`process ${pid} to stop`, () => isStopped(pid))
  return expectChainEqualsProcess(join(directory, String(link)), pid)
}

/** Pages stored in `directory` that belong to no mapping of a file. */
function anonymousPages(pid: number, directory: string): number {
  const pageOf = (address: string): number => parseInt(address, 16) / pageSize()
  const files = readMapsLines(pid).filter(({ fileBacked }) => fileBacked)
  const snapshot = readSnapshot(directory)
  const stored = [...snapshot.storedPages()]
  snapshot.close()
  return stored.filter((page) => !files.some(({ start, end }) => page >= pageOf(start) && page < pageOf(end)))
    .length
}

/** Takes links as a user of the library does. */
function trackedBy(tracker: Tracker): Take {
  return async (pid, directory, link) => {
    const imagesDir = join(directory, String(link))
    const parent = link === 1 ? {} : { prevImagesDir: `../${link - 1}` }
    const options = { pid, imagesDir, trackMem: true, tracker, ...parent, ...HOW }
    const capture = link % 2 === 0 ? 'fork' : 'copy'
    const result = await dump({ ...options, capture, workers: 1 + (Math.floor(link / 2) % 2) })
    const { method, why } = result.capture
    const taken = tracker === 'content' && why.includes('to be compared') ? 'copy' : capture
    expect([method, why]).toEqual([taken, why])
    expect(existsSync(join(imagesDir, 'parent'))).toBe(link > 1)
  }
}

/** Takes links as a user of the command does. */
function commandedBy(tracker: Tracker): Take {
  return async (pid, directory, link) => {
    const parent = link === 1 ? ['--track-mem'] : ['--prev-images-dir', `../${link - 1}`]
    const words = ['--leave-stopped', '--tracker', tracker, ...parent]
    await dumpResult(pid, join(directory, String(link)), words)
    if (link > 1) expect(readlinkSync(join(directory, String(link), 'parent'))).toBe(`../${link - 1}`)
  }
}

/** Takes a full snapshot as every link. */
const takeFull: Take = async (pid, directory, link) => {
  await dump({ pid, imagesDir: join(directory, String(link)), ...HOW })
}

/** Takes a full snapshot and makes an increment of it, by comparing each page with the chain; `spoil` breaks it. */
function madeByHand(spoil: Spoil = () => undefined): Take {
  return async (pid, directory, link) => {
    const full = join(directory, `full-${link}`)
    await dump({ pid, imagesDir: full, ...HOW })
    const before = link === 1 ? undefined : readChain(join(directory, String(link - 1)))
    const pages = heldPages(readChain(full), before)
    if (before !== undefined) {
      const old = [...before.pages.keys()]
      const changed = old.find((page) => (pages.get(page) ?? 'parent') !== 'parent') ?? 0
      const gone = old.find((page) => !pages.has(page)) ?? 0
      spoil({ changed, gone }, pages)
    }
    const parent = before === undefined ? undefined : `../${link - 1}`
    writeLink(join(directory, String(link)), new Map([...pages].sort(([a], [b]) => a - b)), parent)
  }
}

/** The pages of `now`, as holes where `before` has the same bytes. */
function heldPages(now: Chain, before: Chain | undefined): Map<number, Held> {
  return withChainPages(now, (readPage) => {
    const all = new Map<number, Held>()
    for (const page of now.pages.keys()) all.set(page, copyOf(readPage(page)))
    if (before === undefined) return all
    withChainPages(before, (readOld) => {
      for (const [page, held] of all) {
        if (held !== 'parent' && readOld(page)?.equals(held) === true) all.set(page, 'parent')
      }
    })
    return all
  })
}

function copyOf(content: Buffer | undefined): Buffer {
  return Buffer.from(content ?? Buffer.alloc(0))
}

/** `error` with the way to repeat it, and what the program did to the first wrong page. */
async function explained(error: unknown, victim: Victim, where: string): Promise<Error> {
  const lines = [`${where} (repeat with TIDEMARK_SEED)`, String(error)]
  if (isChainMismatch(error)) {
    const address = `0x${((error.pages[0] ?? 0) * pageSize()).toString(16)}`
    const history = listFact(await victim.request(`history ${address}`), 'history').slice(0, 12)
    lines.push(`latest steps at ${address}, latest first:`, ...history.map((line) => `  ${String(line)}`))
  }
  return new Error(lines.join('\n'), { cause: error })
}

function hasHugePages(seed: number): boolean {
  return seed % 2 === 0
}

/** Whole numbers from 0 below the argument, the same ones for the same seed. mulberry32 */
function generator(seed: number): (below: number) => number {
  let state = seed
  return (below) => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below
  }
}
