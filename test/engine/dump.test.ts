import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from '@jest/globals'
import { dump } from '../../src/index.js'
import { numberFact, numbersFact, objectsFact, stringFact } from '../support/facts.js'
import { pageSize, readVmas } from '../support/kernel-vmas.js'
import { firstPage, pagesFrom, storedPagesOf, within } from '../support/pages.js'
import { pageOut } from '../support/page-out.js'
import { isRoot, itIf } from '../support/privileges.js'
import { suspend, taskStates } from '../support/processes.js'
import { dumpResult, expectSameMemory, storedPages, withSnapshot } from '../support/snapshots.js'
import { withTempDir } from '../support/tool.js'
import { expectUnharmed } from '../support/unharmed.js'
import { type Victim, withVictim } from '../support/victim.js'
import { pageContent } from '../victims/content.js'

const canUnshare = isRoot && existsSync('/usr/bin/unshare')
const hasSwap = readFileSync('/proc/swaps', 'latin1').trimEnd().includes('\n')

/** Dumps a stopped victim and compares every page; returns the result and the number of pages compared. */
async function dumpStopped(victim: Victim, directory: string, words: readonly string[] = []) {
  await suspend(victim.pid)
  const result = await dumpResult(victim.pid, join(directory, 'images'), words)
  const compared = expectSameMemory(victim.pid, join(directory, 'images'))
  expect(numberFact(result, 'pagesStored')).toBe(compared)
  return { result, compared, images: join(directory, 'images') }
}

describe('a dump holds every page', () => {
  it.each([
    ['100 VMAs', ['--vmas', '100', '--pages-per-vma', '33', '--gap'], 3300],
    ['10,000 VMAs', ['--vmas', '10000', '--pages-per-vma', '3', '--gap'], 30_000],
    ['huge pages', ['--vmas', '4', '--pages-per-vma', '2048', '--thp'], 8192],
  ])('of a process with %s', async (_, args, pages) => {
    await withTempDir(async (directory) => {
      await withVictim('plain', args, async (victim) => {
        const { result, compared, images } = await dumpStopped(victim, directory)
        expect(compared).toBeGreaterThan(pages)
        expect(numberFact(result, 'vmas')).toBe(readVmas(victim.pid).length)
        const first = firstPage(victim.facts)
        withSnapshot(images, (snapshot) => {
          expect(Buffer.from(snapshot.readPage(first) ?? [])).toEqual(pageContent(first, 1))
        })
      })
    })
  })

  it.each([
    ['4 GiB', ['--span', '4', '--pages', '3000']],
    ['20 TiB', ['--span', '20480', '--pages', '1000']],
  ])('of %s with few pages at scattered places', async (_, args) => {
    await withTempDir(async (directory) => {
      await withVictim('sparse', args, async (victim) => {
        const { images } = await dumpStopped(victim, directory)
        const mapping = {
          start: stringFact(victim.facts, 'start'),
          pages: numberFact(victim.facts, 'spanPages'),
        }
        withSnapshot(images, (snapshot) => {
          expect(within(storedPages(snapshot.images), mapping)).toEqual(numbersFact(victim.facts, 'pages'))
        })
      })
    })
  })

  it('of a process with every kind of mapping, and of each no page too many', async () => {
    await withTempDir(async (directory) => {
      await withVictim('hard', [], async (victim) => {
        const { result, images } = await dumpStopped(victim, directory)
        const stored = withSnapshot(images, (snapshot) => [...storedPages(snapshot.images)])
        for (const region of objectsFact(victim.facts, 'regions')) {
          if (region.expect === 'either' || (!isRoot && region.name === 'only-read')) continue
          expect([region.name, within(stored, region)]).toEqual([region.name, storedPagesOf(region)])
        }
        expect(numberFact(result, 'forcedPages')).toBeGreaterThanOrEqual(16)
      })
    })
  })

  it('of a process with 200 threads, and names them all', async () => {
    await withTempDir(async (directory) => {
      await withVictim('threads', ['--threads', '200', '--spin', '2'], async (victim) => {
        const { result, images } = await dumpStopped(victim, directory)
        const tids = [...taskStates(victim.pid).keys()].sort((a, b) => a - b)
        expect(tids.length).toBeGreaterThan(200)
        expect(numberFact(result, 'threads')).toBe(tids.length)
        withSnapshot(images, ({ images: { processes } }) => {
          expect([...(processes[0]?.threads ?? [])].sort((a, b) => a - b)).toEqual(tids)
        })
      })
    })
  })

  itIf(canUnshare, 'needs root and unshare(1)')(
    'of a process in a pid namespace, in images that its own pid there names',
    async () => {
      await withTempDir(async (directory) => {
        const args = ['--victim', 'threads', '--', '--threads', '3']
        await withVictim('pid-namespace', args, async (victim) => {
          const { result, images } = await dumpStopped(victim, directory)
          const names = readdirSync(images)
          expect(names).toContain('pagemap-1.img')
          expect(names).toContain('mm-1.img')
          expect([numberFact(result, 'pid'), numberFact(result, 'nsPid')]).toEqual([victim.pid, 1])
          const inner = [...taskStates(victim.pid).keys()].map((tid) => innerTid(victim.pid, tid))
          withSnapshot(images, ({ images: { manifest, processes } }) => {
            expect([manifest?.target.pid, manifest?.target.nsPid]).toEqual([victim.pid, 1])
            expect(processes[0]?.pid).toBe(1)
            expect([...(processes[0]?.threads ?? [])].sort(ascending)).toEqual(inner.sort(ascending))
          })
        })
      })
    },
  )

  it('of a process whose main thread has ended', async () => {
    await withTempDir(async (directory) => {
      await withVictim('zombie-leader', [], async (victim) => {
        expect(taskStates(victim.pid).get(victim.pid)).toBe('Z')
        await dumpStopped(victim, directory)
      })
    })
  })

  itIf(hasSwap && isRoot, 'this machine has no swap, or we are not root')('that is swapped out', async () => {
    await withTempDir(async (directory) => {
      await withVictim('plain', ['--vmas', '1', '--pages-per-vma', '2048'], async (victim) => {
        expect(pageOut(victim.pid, firstPage(victim.facts), 1024)).toBe(1024)
        expect(readFileSync(`/proc/${victim.pid}/status`, 'latin1')).toMatch(/^VmSwap:\s+[1-9]/m)
        await dumpStopped(victim, directory)
      })
    })
  })
})

describe('a dump of a running process', () => {
  it('is of one instant', async () => {
    await withTempDir(async (directory) => {
      await withVictim('dirty-writer', ['--pairs', '64', '--filler', '8192'], async (victim) => {
        const copy = ['--capture', 'copy']
        const ways = [
          copy,
          [...copy, '--max-memory', '1M'],
          [...copy, '--workers', '1'],
          ['--capture', 'fork'],
        ]
        for (const [index, words] of ways.entries()) {
          const images = join(directory, String(index))
          const before = numberFact(await victim.request('rounds'), 'rounds')
          await dumpResult(victim.pid, images, words)
          const after = numberFact(await victim.request('rounds'), 'rounds')
          const written = sequences(victim, images)
          expect(written.filter((number, place) => place > 0 && number > (written[place - 1] ?? 0n))).toEqual(
            [],
          )
          expect((written[0] ?? 0n) - (written.at(-1) ?? 0n)).toBeLessThanOrEqual(1n)
          expect(written[0]).toBeGreaterThanOrEqual(BigInt(before))
          expect(written[0]).toBeLessThanOrEqual(BigInt(after))
        }
        await expectUnharmed(victim)
      })
    })
  })

  it('whose threads come and go leaves it alive and whole, 20 times in a row', async () => {
    await withTempDir(async (directory) => {
      const args = ['--threads', '20', '--spin', '1', '--churn', '1']
      await withVictim('threads', args, async (victim) => {
        const filled = pagesFrom(firstPage(victim.facts), numberFact(victim.facts, 'pages'))
        for (let time = 0; time < 20; time += 1) {
          const images = join(directory, String(time))
          const before = numberFact(await victim.request('churned'), 'churned')
          const { threads } = await dump({ pid: victim.pid, imagesDir: images, sync: false })
          expect(threads).toBeGreaterThan(20)
          withSnapshot(images, (snapshot) => {
            const wrong = filled.filter(
              (page) => !pageContent(page, 1).equals(Buffer.from(snapshot.readPage(page) ?? [])),
            )
            expect(wrong).toEqual([])
          })
          await expectUnharmed(victim)
          while (numberFact(await victim.request('churned'), 'churned') <= before) continue
        }
        const counts = numbersFact(await victim.request('counts'), 'counts')
        expect(counts.every((count) => count > 0)).toBe(true)
      })
    })
  })

  it('loses none of the signals that it is being sent', async () => {
    await withTempDir(async (directory) => {
      await withVictim('busy-signals', [], async (victim) => {
        for (let time = 0; time < 5; time += 1) {
          await dump({ pid: victim.pid, imagesDir: join(directory, String(time)), sync: false })
        }
        const settled = await victim.request('settle')
        expect(numberFact(settled, 'received')).toBe(numberFact(settled, 'sent'))
        await expectUnharmed(victim)
      })
    })
  })
})

/** The sequence numbers in the pages A0, B0, A1, B1, … of a snapshot of the dirty writer. */
function sequences(victim: Victim, images: string): readonly bigint[] {
  const { facts } = victim
  return withSnapshot(images, (snapshot) => {
    const at = (name: string, pair: number): bigint => {
      const page = snapshot.readPage(numberFact(facts, name) / pageSize() + pair)
      return Buffer.from(page ?? Buffer.alloc(0)).readBigUInt64LE()
    }
    return Array.from({ length: numberFact(facts, 'pairs') }, (_, pair) => [
      at('a', pair),
      at('b', pair),
    ]).flat()
  })
}

/** Id of a thread in its own pid namespace. */
function innerTid(pid: number, tid: number): number {
  const status = readFileSync(`/proc/${pid}/task/${tid}/status`, 'latin1')
  return Number(/^NSpid:.*\s(\d+)$/m.exec(status)?.[1])
}

function ascending(a: number, b: number): number {
  return a - b
}
