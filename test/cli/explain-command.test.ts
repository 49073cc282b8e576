import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals'
import { type Facts, numberFact, objectsFact, parseFacts, stringFact } from '../support/facts.js'
import { pageSize } from '../support/kernel-vmas.js'
import { readMapsLines } from '../support/maps.js'
import { readProcessPage } from '../support/oracle.js'
import { isStopped, suspend } from '../support/processes.js'
import { expectError } from '../support/refusals.js'
import { dumpResult, knownPages } from '../support/snapshots.js'
import { runTool } from '../support/tool.js'
import { startVictim, type Victim } from '../support/victim.js'

const PAGE = pageSize()

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

async function explain(source: readonly string[], vaddr: number): Promise<Facts> {
  const run = await runTool(['explain', ...source, '--vaddr', vaddr.toString(16), '--json'])
  expect([run.status, run.stderr]).toEqual([0, ''])
  return parseFacts(run.stdout)
}

function regionStart(name: string): number {
  const region = objectsFact(victim.facts, 'regions').find((candidate) => candidate.name === name)
  return region === undefined ? 0 : numberFact(region, 'start')
}

describe('tidemark explain', () => {
  it.each([
    ['executable', 3],
    ['prot-none', 5],
    ['untouched', 1],
    ['only-read', 0],
    ['written-zeros', 2],
    ['huge', 100],
    ['dontneed-holes', 12],
    ['dontneed-holes', 25],
    ['guarded', 20],
    ['patterns', 257],
    ['file-private', 0],
    ['file-private', 10],
    ['file-shared', 3],
    ['memfd-shared', 3],
    ['droppable', 0],
  ])('tells of region %s, page %i, what maps, pagemap and mem have, live and stored', async (name, index) => {
    const region = regionStart(name)
    if (region === 0) {
      process.stderr.write(`skipped: this machine has no ${name}\n`)
      return
    }
    const vaddr = region + index * PAGE
    const page = vaddr / PAGE
    const { required, optional } = knownPages(victim.pid)
    const line = readMapsLines(victim.pid).find(
      ({ start, end }) => Number(`0x${start}`) <= vaddr && vaddr < Number(`0x${end}`),
    )
    // An address in the midst of the page is as good.
    const [live, stored] = await Promise.all([
      explain(['-t', String(victim.pid)], vaddr + 77),
      explain([images], vaddr),
    ])
    for (const found of [live, stored]) {
      expect(found.vaddr).toBe(`0x${vaddr.toString(16)}`)
      expect(stringFact(found, 'vma')).toContain(
        `0x${line?.start ?? ''}-0x${line?.end ?? ''} ${line?.permissions ?? ''}`,
      )
      if (!optional.has(page)) expect(found.stored).toBe(required.includes(page))
      const bytes = readOrNothing(page)
      expect(found.bytes).toBe(found.stored === true ? bytes?.subarray(0, 16).toString('hex') : undefined)
    }
    expect([stored.vma, stored.fate]).toEqual([live.vma, live.fate])
    expect(stored.run).toEqual(live.run)
    expect(stored.pagesOffset).toEqual(live.pagesOffset)
    expect(stored.entry).toEqual(live.entry)
    expect('shard' in live).toBe(live.stored === true || live.shard !== undefined)
    if (stored.stored === true) {
      const offset = numberFact(stored, 'pagesOffset')
      const inFile = readFileSync(join(images, 'pages-1.img')).subarray(offset, offset + PAGE)
      expect(inFile).toEqual(readProcessPage(victim.pid, page))
    }
  })

  it.each(['[heap]', '[stack]', '[vdso]'])('names %s alike, live and stored', async (path) => {
    const line = readMapsLines(victim.pid).find((each) => each.path === path)
    const vaddr = Number(`0x${line?.start ?? ''}`)
    const live = await explain(['-t', String(victim.pid)], vaddr)
    const stored = await explain([images], vaddr)
    expect(stringFact(live, 'vma')).toMatch(path)
    expect([stored.vma, stored.fate]).toEqual([live.vma, live.fate])
  })

  it('prints seven numbered facts', async () => {
    const vaddr = regionStart('executable').toString(16)
    for (const source of [['-t', String(victim.pid)], [images]]) {
      const run = await runTool(['explain', ...source, '--vaddr', `0x${vaddr}`])
      expect([run.status, run.stderr]).toEqual([0, ''])
      const lines = run.stdout.trimEnd().split('\n')
      expect(lines[0]).toContain(`0x${vaddr}`)
      expect(lines.slice(1).map((line) => line.slice(0, 2))).toEqual([
        '1 ',
        '2 ',
        '3 ',
        '4 ',
        '5 ',
        '6 ',
        '7 ',
      ])
    }
  })

  it('says so where nothing is mapped', async () => {
    for (const source of [['-t', String(victim.pid)], [images]]) {
      const found = await explain(source, 0)
      expect([found.stored, 'vma' in found, 'run' in found]).toEqual([false, false, false])
    }
  })

  it('leaves a running process alone', async () => {
    const other = await startVictim('plain')
    try {
      const found = await explain(['-t', String(other.pid)], numberFact(other.facts, 'start'))
      expect(found.stored).toBe(true)
      expect(isStopped(other.pid)).toBe(false)
      expect(await other.request('ping')).toEqual({ pong: true })
    } finally {
      await other.stop()
    }
  })

  it('fails where there is no such process or snapshot', async () => {
    expectError(await runTool(['explain', '-t', '4194303', '--vaddr', '0']), 'NO_SUCH_PROCESS')
    expectError(await runTool(['explain', directory, '--vaddr', '0']), 'BAD_IMAGE')
  })
})

function readOrNothing(page: number): Buffer | undefined {
  try {
    return readProcessPage(victim.pid, page)
  } catch {
    return undefined
  }
}
