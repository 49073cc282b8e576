import { execFileSync, spawnSync } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { expect, it } from '@jest/globals'
import { isFacts, listFact, numberFact, objectsFact, parseFacts } from '../support/facts.js'
import { pageSize } from '../support/kernel-vmas.js'
import { readMapsLines } from '../support/maps.js'
import { describeIf } from '../support/privileges.js'
import { suspend, taskStates } from '../support/processes.js'
import { dumpResult, knownPages } from '../support/snapshots.js'
import { withTempDir } from '../support/tool.js'
import { withVictim } from '../support/victim.js'

const hasCrit = spawnSync('crit', ['--help']).status === 0
const PAGE = pageSize()

function crit(...words: readonly string[]): string {
  return execFileSync('crit', words, { encoding: 'utf8', maxBuffer: 2 ** 28 })
}

/** Calls `use` with the images of a stopped victim. */
async function withImages(name: string, use: (images: string, pid: number) => Promise<void>): Promise<void> {
  await withTempDir(async (directory) => {
    await withVictim(name, [], async ({ pid }) => {
      await suspend(pid)
      const images = join(directory, 'images')
      await dumpResult(pid, images)
      await use(images, pid)
    })
  })
}

/** Page numbers of the runs `[address, pages]`. */
function pagesOf(runs: readonly (readonly [number, number])[]): number[] {
  return runs.flatMap(([address, pages]) =>
    Array.from({ length: pages }, (_, index) => address / PAGE + index),
  )
}

describeIf(hasCrit, 'crit is not installed (Debian package criu)')('crit', () => {
  it('decodes and shows every image', async () => {
    await withImages('plain', (images) => {
      const names = readdirSync(images).filter((name) => !/^(pages-|tidemark\.json)/.test(name))
      expect(names).toHaveLength(6)
      for (const name of names) {
        const decoded = parseFacts(crit('decode', '-i', join(images, name)))
        expect([name, listFact(decoded, 'entries').length > 0]).toEqual([name, true])
        expect(parseFacts(crit('show', join(images, name)))).toMatchObject({ magic: decoded.magic })
      }
      return Promise.resolve()
    })
  })

  it.each(['plain', 'hard'])('finds in the images of %s the runs that the process has', async (name) => {
    await withImages(name, (images, pid) => {
      const [head, ...entries] = objectsFact(
        parseFacts(crit('decode', '-i', join(images, `pagemap-${String(pid)}.img`))),
        'entries',
      )
      expect(head).toEqual({ pages_id: 1 })
      const pages = pagesOf(
        entries.map((entry) => [numberFact(entry, 'vaddr'), numberFact(entry, 'nr_pages')]),
      )
      const { required, optional } = knownPages(pid)
      expect(pages.filter((page) => !optional.has(page))).toEqual(
        required.filter((page) => !optional.has(page)),
      )
      expect(entries.every((entry) => String(entry.flags).includes('PRESENT') || entry.flags === 4)).toBe(
        true,
      )
      return Promise.resolve()
    })
  })

  it.each(['plain', 'hard'])('lists the VMAs of %s as maps has them', async (name) => {
    await withImages(name, (images, pid) => {
      const listed = [...crit('x', images, 'mems').matchAll(/^\s+0*([0-9a-f]+)-0*([0-9a-f]+)\s+(\S+)/gm)]
      const bounds = new Set(listed.flatMap(([, start, end]) => [start, end]))
      const lines = readMapsLines(pid).filter(({ path }) => !path.startsWith('[v'))
      expect(lines.filter(({ start, end }) => !bounds.has(start) || !bounds.has(end))).toEqual([])
      for (const { start, permissions } of lines) {
        const row = listed.find((words) => words[1] === start)
        expect([start, row?.[3]?.slice(0, 3)]).toEqual([start, permissions.slice(0, 3)])
      }
      return Promise.resolve()
    })
  })

  it.each(['plain', 'hard'])('counts the resident pages of %s', async (name) => {
    await withImages(name, (images, pid) => {
      const runs = [...crit('x', images, 'rss').matchAll(/^\t([0-9a-f]+)\s*\/\s*(\d+)/gm)].map(
        ([, address, pages]): [number, number] => [Number(`0x${address ?? ''}`), Number(pages)],
      )
      const { required, optional } = knownPages(pid)
      expect(pagesOf(runs).filter((page) => !optional.has(page))).toEqual(
        required.filter((page) => !optional.has(page)),
      )
      return Promise.resolve()
    })
  })

  it('names the process, its threads and its program', async () => {
    await withImages('threads', (images, pid) => {
      const [process_] = objectsFact(parseFacts(crit('decode', '-i', join(images, 'pstree.img'))), 'entries')
      expect(process_).toMatchObject({ pid, ppid: 0 })
      const threads = process_ === undefined ? [] : listFact(process_, 'threads').map(Number)
      expect(threads.sort((a, b) => a - b)).toEqual([...taskStates(pid).keys()].sort((a, b) => a - b))
      const files = objectsFact(parseFacts(crit('decode', '-i', join(images, 'files.img'))), 'entries')
      const names = files.map(({ reg }) => (isFacts(reg) ? reg.name : undefined))
      const mapped = readMapsLines(pid).filter(({ fileBacked }) => fileBacked)
      expect(names).toEqual(expect.arrayContaining(mapped.map(({ path }) => path)))
      return Promise.resolve()
    })
  })
})
