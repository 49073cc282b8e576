/** The C twin does the work that a dump does: it finds and copies as many pages, in as many runs. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from '@jest/globals'
import type { DumpRun } from '../../bench/dump-run.js'
import { compareRuns } from '../../bench/twin.js'
import { compileTwin, hasCompiler, readTwinRun, runTwin } from '../../bench/twin-program.js'
import { formatWork, surveyForTwin } from '../../bench/twin-work.js'
import { probeKernel } from '../../src/kernel/features.js'
import { dump } from '../../src/index.js'
import { suspend } from '../support/processes.js'
import { withVictim } from '../support/victim.js'

const VICTIM = ['--vmas', '40', '--pages-per-vma', '30', '--gap']
const RUN = { scanUs: 10, planUs: 1, captureUs: 100, pages: 1000, runs: 5 }

const dumpRun = (scan: number, capture: number, pagesStored: number): DumpRun => ({
  frozen: { seize: 0, checks: 0, maps: 0, prepare: 0, scan, plan: 4, fork: 0, capture, reset: 0, thaw: 0 },
  ...{
    frozenUs: 0,
    totalUs: 0,
    pagesStored,
    bytesStored: 0,
    runs: 5,
    method: 'copy',
    tracker: '',
    methodBecause: '',
    fullBecause: '',
  },
})

describe('the comparison', () => {
  test('is of medians', () => {
    const ours = [dumpRun(15, 120, 1000), dumpRun(99, 110, 1000), dumpRun(12, 900, 1000)]
    expect(compareRuns('shape', 2, ours, [RUN, RUN, RUN]).ratio).toEqual({ scan: 1.5, plan: 4, capture: 1.2 })
  })

  test('is refused where both have not done the same', () => {
    expect(() => compareRuns('shape', 2, [dumpRun(1, 1, 90_000)], [RUN])).toThrow(
      '90000 pages, the twin 1000',
    )
  })

  test('is refused where the twin met memory that its work does not know', () => {
    expect(() => readTwinRun(JSON.stringify({ ...RUN, forcedPages: 0, slotless: 1 }))).toThrow('has grown')
  })
})

describe('the twin', () => {
  const possible = hasCompiler() && probeKernel().pagemapScan
  if (!possible) console.log('skipped: the twin needs gcc and PAGEMAP_SCAN')
  const folder = mkdtempSync(join(tmpdir(), 'tidemark-twin-test-'))
  afterAll(() => {
    rmSync(folder, { recursive: true, force: true })
  })

  const onlyWhere = possible ? test : test.skip
  onlyWhere.each([1, 2])('copies what a dump stores, with %d threads', async (threads) => {
    const program = compileTwin(folder)
    await withVictim('plain', VICTIM, async ({ pid }) => {
      // A stopped process stays as it is from one to the other; the twin lets it go on.
      await suspend(pid)
      const result = await dump({
        pid,
        imagesDir: join(folder, `images-${String(threads)}`),
        sync: false,
        capture: 'copy',
      })
      const run = await runTwin(program, pid, threads)
      expect([run.pages, run.runs]).toEqual([result.pagesStored, result.runs])
    })
  })

  test('is told the chunks, segments and shards, each list after its length', async () => {
    await withVictim('plain', VICTIM, async ({ pid }) => {
      const work = surveyForTwin(pid, 2)
      const numbers = formatWork(work).trim().split(/\s+/).map(Number)
      const { chunks, segments, shards } = work
      expect(numbers.slice(0, 5)).toEqual([pid, 2, 4096, work.returned, chunks.length])
      expect(numbers).toHaveLength(4 + 1 + chunks.length + 1 + 3 * segments.count + 1 + 2 * shards.count)
      expect(shards.endSlot.at(-1)).toBe(chunks.length * 4096)
    })
  })
})
