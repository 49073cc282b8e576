import { closeSync, openSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals'
import { noMoves } from '../../src/core/page-moves.js'
import { planPages, type DumpPlan } from '../../src/core/plan.js'
import { TargetMemory } from '../../src/kernel/target-memory.js'
import { allocateControl, CREW } from '../../src/tasks/control.js'
import { copyPages, type CopyCounts } from '../../src/tasks/copy-pages.js'
import type { CopyJob } from '../../src/tasks/jobs.js'
import { writePages } from '../../src/tasks/write-pages.js'
import { planOfRuns, runsOfPages } from '../core/builders.js'
import { ownBytes, withOwnPages } from '../kernel/own-memory.js'
import { pageSize } from '../support/kernel-vmas.js'
import { expectedPages, withProcessPages } from '../support/oracle.js'
import { suspend } from '../support/processes.js'
import { withTempDir } from '../support/tool.js'
import { startVictim, type Victim } from '../support/victim.js'

const PAGE = pageSize()
const THREADS = 2

describe('copying pages', () => {
  let victim: Victim
  let pages: readonly number[]
  let plan: DumpPlan
  let truth: Buffer

  beforeAll(async () => {
    victim = await startVictim('hard')
    await suspend(victim.pid)
    pages = expectedPages(victim.pid).required.slice(-2500)
    plan = planOfRuns(runsOfPages(pages))
    truth = withProcessPages(victim.pid, (readPage) => Buffer.concat(pages.map(readPage)))
  })
  afterAll(() => victim.stop())

  interface Outcome {
    readonly counts: CopyCounts
    readonly staged: Buffer
    readonly file: Buffer
  }

  /** Copies with one thread; then the staged part is written as after a thaw, unless `write` is false. */
  async function copy(
    options: Pick<CopyJob, 'batchPages' | 'stagedPages'> & {
      readonly pages?: number
      readonly thread?: number
      readonly write?: boolean
      readonly control?: Int32Array
    },
  ): Promise<Outcome> {
    const { batchPages, stagedPages, thread = 0, write = true } = options
    return withTempDir(async (directory) => {
      const path = join(directory, 'pages-1.img')
      const pagesFd = openSync(path, 'w+')
      const memory = new TargetMemory(victim.pid, victim.pid)
      try {
        return withOwnPages(stagedPages + THREADS * batchPages, (stagingAddress) => {
          const job: CopyJob = {
            kind: 'copy',
            ...{ pid: victim.pid, tid: victim.pid, plan, pages: options.pages ?? pages.length },
            ...{ batchPages, stagedPages, stagingAddress, pagesFd },
            streamAddress: stagingAddress + stagedPages * PAGE,
            places: noMoves(planPages(plan)),
            gone: undefined,
          }
          const counts = copyPages(job, memory, options.control ?? allocateControl(CREW.words), thread)
          const byteLength = stagedPages * PAGE
          if (write) {
            const moves = noMoves(stagedPages)
            const buffers = { address: stagingAddress, moves, pages: stagedPages, bufferPages: 3 }
            writePages({ kind: 'write', pagesFd, ...buffers }, allocateControl(CREW.words))
          }
          return { counts, staged: ownBytes(stagingAddress, byteLength), file: readFileSync(path) }
        })
      } finally {
        memory.close()
        closeSync(pagesFd)
      }
    })
  }

  it.each([
    ['everything staged', 256, 2500, 0],
    ['everything streamed', 256, 0, 2500],
    ['the end streamed', 100, 1200, 1300],
    ['batches of one page', 1, 2000, 500],
    ['one batch for all', 5000, 0, 2500],
    ['a last batch that is not full', 999, 999, 1501],
  ])('gives a file that is the memory of the target, with %s', async (_name, batch, staged, streamed) => {
    const { counts, file } = await copy({ batchPages: batch, stagedPages: staged })
    expect(file.equals(truth)).toBe(true)
    expect(counts).toEqual({ pieces: Math.ceil(2500 / batch), pages: 2500, streamedPages: streamed })
  })

  it('puts what is staged into memory at its place in the file, and writes nothing of it', async () => {
    const { staged, file } = await copy({ batchPages: 100, stagedPages: 1000, write: false })
    expect(staged.equals(truth.subarray(0, 1000 * PAGE))).toBe(true)
    expect(file.subarray(0, 1000 * PAGE).equals(Buffer.alloc(1000 * PAGE))).toBe(true)
    expect(file.subarray(1000 * PAGE).equals(truth.subarray(1000 * PAGE))).toBe(true)
  })

  it('streams through the buffer of its own thread', async () => {
    const { file } = await copy({ batchPages: 64, stagedPages: 0, thread: 1 })
    expect(file.equals(truth)).toBe(true)
  })

  it('copies the pages from the first on, as many as it is told', async () => {
    const { counts, file } = await copy({ batchPages: 64, stagedPages: 0, pages: 1000 })
    expect(file.equals(truth.subarray(0, 1000 * PAGE))).toBe(true)
    expect(counts.pages).toBe(1000)
  })

  it('copies nothing where nothing is planned', async () => {
    const { counts, file } = await copy({ batchPages: 64, stagedPages: 0, pages: 0 })
    expect([counts, file.length]).toEqual([{ pieces: 0, pages: 0, streamedPages: 0 }, 0])
  })

  it('takes only the batches that others have left in the queue', async () => {
    const control = allocateControl(CREW.words)
    Atomics.store(control, CREW.next, 5)
    const { counts, file } = await copy({ batchPages: 500, stagedPages: 0, control })
    expect([counts.pieces, file.length]).toEqual([0, 0])
    Atomics.store(control, CREW.next, 4)
    const rest = await copy({ batchPages: 500, stagedPages: 0, control })
    expect(rest.counts).toEqual({ pieces: 1, pages: 500, streamedPages: 500 })
    expect(rest.file.subarray(2000 * PAGE).equals(truth.subarray(2000 * PAGE))).toBe(true)
  })
})
