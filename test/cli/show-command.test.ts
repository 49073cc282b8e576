import { cpSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals'
import {
  type Facts,
  isFacts,
  listFact,
  numberFact,
  objectsFact,
  parseFacts,
  stringFact,
} from '../support/facts.js'
import { pageSize } from '../support/kernel-vmas.js'
import { type MapsLine, readMapsLines } from '../support/maps.js'
import type { ExpectedPages } from '../support/oracle.js'
import { suspend, taskStates } from '../support/processes.js'
import { expectError, expectJsonError } from '../support/refusals.js'
import { startShellTool } from '../support/shell.js'
import { dumpResult, knownPages } from '../support/snapshots.js'
import { runTool, withTempDir } from '../support/tool.js'
import { startVictim, type Victim } from '../support/victim.js'

const PAGE = pageSize()
/** Status of the entries that CRIU's images have for guard pages, beside those for VMAs. */
const GUARD = 'VMA_AREA_GUARD'

let victim: Victim
let directory: string
let images: string

beforeAll(async () => {
  victim = await startVictim('hard')
  await suspend(victim.pid)
  directory = mkdtempSync(join(tmpdir(), 'tidemark-test-'))
  images = join(directory, 'images')
  await dumpResult(victim.pid, images)
})
afterAll(async () => {
  await victim.stop()
  rmSync(directory, { recursive: true, force: true })
})

async function show(words: readonly string[]): Promise<string> {
  const run = await runTool(['show', images, ...words])
  expect([run.status, run.stderr]).toEqual([0, ''])
  return run.stdout
}

/** The lines of maps as images have them: CRIU takes [vvar] and [vvar_vclock] for one. source: criu/proc_parse.c */
function expectedLines(): readonly MapsLine[] {
  const lines: MapsLine[] = []
  for (const line of readMapsLines(victim.pid)) {
    const last = lines.at(-1)
    if (line.path !== '[vvar_vclock]' || last?.end !== line.start) lines.push(line)
    else lines.splice(-1, 1, { ...last, end: line.end })
  }
  return lines
}

function partition<Item>(
  items: readonly Item[],
  belongs: (item: Item) => boolean,
): readonly [Item[], Item[]] {
  return [items.filter(belongs), items.filter((item) => !belongs(item))]
}

/** How many of the pages in `[start, end)` a snapshot must hold, and how many it may. */
function countPages({ required, optional }: ExpectedPages, vma: Facts): readonly [number, number] {
  const from = numberFact(vma, 'start') / PAGE
  const to = numberFact(vma, 'end') / PAGE
  const inside = (page: number): boolean => page >= from && page < to
  const least = required.filter(inside).length
  return [least, least + [...optional].filter(inside).length]
}

describe('tidemark show --json', () => {
  it('has every VMA of the process, with the bytes that it holds', async () => {
    const summary = parseFacts(await show(['--json']))
    const [guards, vmas] = partition(objectsFact(summary, 'vmas'), (vma) =>
      listFact(vma, 'status').includes(GUARD),
    )
    const lines = expectedLines()
    expect(vmas.map(({ start, end, permissions }) => [start, end, permissions])).toEqual(
      lines.map(({ start, end, permissions }) => [`0x${start}`, `0x${end}`, permissions]),
    )
    for (const [index, { fileBacked, path }] of lines.entries()) {
      // What has an inode and no file in any file system is not called a file.
      const isFile = fileBacked && !/^\/(SYSV|\[aio\])/.test(path)
      expect([index, vmas[index]?.file]).toEqual([index, isFile ? path : ''])
    }
    for (const guard of guards) expect([guard.permissions, guard.storedBytes]).toEqual(['---p', 0])
    const oracle = knownPages(victim.pid)
    for (const vma of vmas) {
      const [least, most] = countPages(oracle, vma)
      expect(vma.storedBytes).toBe(vma.residentBytes)
      expect(numberFact(vma, 'storedBytes')).toBeGreaterThanOrEqual(least * PAGE)
      expect(numberFact(vma, 'storedBytes')).toBeLessThanOrEqual(most * PAGE)
    }
    const sum = vmas.reduce((bytes, vma) => bytes + numberFact(vma, 'storedBytes'), 0)
    expect(summary.storedBytes).toBe(sum)
    expect(summary.pid).toBe(victim.pid)
    expect(summary.threads).toEqual(expect.arrayContaining([...taskStates(victim.pid).keys()]))
    expect('pagemap' in summary).toBe(false)
  })

  it('has with --pagemap the runs of the pages that the process holds', async () => {
    const { required, optional } = knownPages(victim.pid)
    const runs = objectsFact(parseFacts(await show(['--json', '--pagemap'])), 'pagemap')
    const pages = runs.flatMap((run) => {
      const first = numberFact(run, 'start') / PAGE
      return Array.from({ length: numberFact(run, 'pages') }, (_, index) => first + index)
    })
    expect(pages.filter((page) => !optional.has(page))).toEqual(
      required.filter((page) => !optional.has(page)),
    )
    expect(runs.filter((run) => run.where !== 'present')).toEqual([])
    const touching = runs.filter((run, index) => {
      const next = runs[index + 1]
      const limit = numberFact(run, 'start') + numberFact(run, 'pages') * PAGE
      return next !== undefined && limit >= numberFact(next, 'start')
    })
    expect(touching).toEqual([])
  })

  it('names the memory that is missing', async () => {
    const { manifest } = parseFacts(await show(['--json']))
    const missing = isFacts(manifest) ? objectsFact(manifest, 'missing') : []
    expect(isFacts(manifest) && manifest.complete).toBe(false)
    const reasons = {
      'anonymous-shared': 'shared-anonymous',
      'memfd-shared': 'memfd',
      'memfd-private': 'memfd',
      'file-deleted': 'deleted-file',
      sysv: 'sysv-shm',
      secret: 'secret-memory',
    }
    for (const region of objectsFact(victim.facts, 'regions')) {
      const wanted = Object.entries(reasons).find(([name]) => name === region.name)?.[1]
      const found = missing.find(
        (range) =>
          numberFact(range, 'start') <= numberFact(region, 'start') &&
          numberFact(region, 'start') < numberFact(range, 'end'),
      )
      expect([region.name, found?.reason]).toEqual([region.name, wanted])
    }
  })
})

describe('tidemark show', () => {
  it('prints the process, its VMAs as maps has them, and what is missing', async () => {
    const text = await show([])
    expect(text.split('\n')[0]).toContain(`process ${String(victim.pid)}`)
    const printed = [...text.matchAll(/^([0-9a-f]+)-([0-9a-f]+) +([-rwxsp]{4}) /gm)]
    const expected = expectedLines().map(({ start, end, permissions }) => [start, end, permissions])
    expect(printed.map((words) => words.slice(1, 4)).slice(0, expected.length)).toEqual(expected)
    expect(text).toMatch(/incomplete/)
    const memfd = objectsFact(victim.facts, 'regions').find(({ name }) => name === 'memfd-shared')
    const start = memfd === undefined ? 'no memfd' : stringFact(memfd, 'start').slice(2)
    expect(text).toMatch(new RegExp(`^ +${start}-[0-9a-f]+ memfd /memfd:shared`, 'm'))
    expect(text).toMatch(/^frozen .* ms/m)
  })

  it('prints with --pagemap one line for each run', async () => {
    const runs = objectsFact(parseFacts(await show(['--json', '--pagemap'])), 'pagemap')
    const printed = [...(await show(['--pagemap'])).matchAll(/^([0-9a-f]+) +(\d+) +present$/gm)]
    expect(printed.map(([, start, pages]) => [`0x${start ?? ''}`, Number(pages)])).toEqual(
      runs.map(({ start, pages }) => [start, pages]),
    )
  })

  it('ends quietly when its reader does', async () => {
    const run = await startShellTool('"$@" 2>&1 >/dev/null | :; echo done', ['show', images]).finished
    expect(run).toMatchObject({ status: 0, stdout: 'done\n', stderr: '' })
  })

  it.each([
    ['a directory that is not there', () => join(directory, 'none')],
    ['a directory without a snapshot', () => directory],
    [
      'a snapshot with a truncated image',
      (copy: string) => {
        truncateSync(join(copy, 'pages-1.img'), 4096)
        return copy
      },
    ],
    [
      'a snapshot without one of its images',
      (copy: string) => {
        rmSync(join(copy, `mm-${String(victim.pid)}.img`))
        return copy
      },
    ],
    [
      'a snapshot whose marker is no JSON',
      (copy: string) => {
        writeFileSync(join(copy, 'tidemark.json'), '{')
        return copy
      },
    ],
    [
      'an image of the right size that is damaged',
      (copy: string) => {
        const path = join(copy, `pagemap-${String(victim.pid)}.img`)
        writeFileSync(path, readFileSync(path).fill(0xff, 8))
        return copy
      },
    ],
  ])('calls %s BAD_IMAGE', async (_, damage) => {
    await withTempDir(async (made) => {
      const copy = join(made, 'copy')
      cpSync(images, copy, { recursive: true })
      const path = damage(copy)
      const [text, json] = await Promise.all([runTool(['show', path]), runTool(['show', path, '--json'])])
      expectError(text, 'BAD_IMAGE')
      expectJsonError(json, 'BAD_IMAGE')
    })
  })
})
