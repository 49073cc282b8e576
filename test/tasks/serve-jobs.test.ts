import { closeSync, openSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { MessageChannel, receiveMessageOnPort, type MessagePort } from 'node:worker_threads'
import { describe, expect, it } from '@jest/globals'
import { Piscina } from 'piscina'
import { noMoves } from '../../src/core/page-moves.js'
import { allocateControl, CREW } from '../../src/tasks/control.js'
import { NO_WORK, type Job, type JobReport } from '../../src/tasks/jobs.js'
import { planOfRuns } from '../core/builders.js'
import { ownBytes, whileOwnPages } from '../kernel/own-memory.js'
import { slowPages } from '../kernel/slow-pagemap.js'
import { pageSize } from '../support/kernel-vmas.js'
import { firstPage, pagesFrom } from '../support/pages.js'
import { suspend, waitUntil } from '../support/processes.js'
import { withTempDir } from '../support/tool.js'
import { withVictim } from '../support/victim.js'
import { pageContent } from '../victims/content.js'

const PAGE = pageSize()
const THREADS = 2

/** Threads at their long task. */
interface Threads {
  readonly control: Int32Array
  /** Has all threads work on `job`, and resolves with their reports. */
  readonly run: (job: Job) => Promise<JobReport[]>
}

/** Runs `use` with threads that end afterwards, whatever happens. */
async function withThreads(use: (threads: Threads) => Promise<void>): Promise<void> {
  const pool = new Piscina({
    filename: new URL('../../workers/crew.js', import.meta.url).href,
    minThreads: THREADS,
    maxThreads: THREADS,
  })
  const control = allocateControl(CREW.words)
  const ports: MessagePort[] = []
  const tasks: Promise<unknown>[] = []
  for (let thread = 0; thread < THREADS; thread += 1) {
    const { port1, port2 } = new MessageChannel()
    ports.push(port1)
    tasks.push(pool.run({ control, port: port2 }, { transferList: [port2] }))
  }
  const begin = (job: Job): void => {
    for (const word of [CREW.done, CREW.next, CREW.stop, CREW.progress]) Atomics.store(control, word, 0)
    for (const port of ports) port.postMessage(job)
    Atomics.add(control, CREW.phase, 1)
    Atomics.notify(control, CREW.phase)
  }
  const run = async (job: Job): Promise<JobReport[]> => {
    begin(job)
    await waitUntil('the threads to be done', () => Atomics.load(control, CREW.done) === THREADS)
    return ports.map((port) => {
      const received: { message: JobReport } | undefined = receiveMessageOnPort(port)
      if (received === undefined) throw new Error('a thread gave no report')
      return received.message
    })
  }
  try {
    await waitUntil('the threads to load', () => Atomics.load(control, CREW.ready) === THREADS)
    await use({ control, run })
    begin({ kind: 'end' })
    await Promise.all(tasks)
  } finally {
    for (const port of ports) port.close()
    await pool.destroy()
  }
}

function sum(
  reports: readonly JobReport[],
  key: 'pieces' | 'pages' | 'streamedPages' | 'forcedPages',
): number {
  return reports.reduce((total, report) => total + report[key], 0)
}

describe('the long task of the threads', () => {
  it('serves job after job, each once, and ends when it is told to', async () => {
    await withThreads(async ({ run }) => {
      await withTempDir(async (directory) => {
        const fd = openSync(join(directory, 'pages-1.img'), 'w+')
        try {
          await withVictim('plain', ['--vmas', '1', '--pages-per-vma', '1000'], async ({ pid, facts }) => {
            await suspend(pid)
            const first = firstPage(facts)
            const truth = Buffer.concat(pagesFrom(first, 1000).map((page) => pageContent(page, 1)))
            const plan = planOfRuns([[first, 1000]])
            const copied = await copyAndWrite(run, { pid, fd, plan })
            expect(copied.equals(truth)).toBe(true)
            expect(readFileSync(join(directory, 'pages-1.img')).equals(truth)).toBe(true)
          })
        } finally {
          closeSync(fd)
        }
      })
    })
  })

  it('reports what a thread could not do, as data, and makes the others stop', async () => {
    await withThreads(async ({ control, run }) => {
      await withVictim('plain', [], async ({ pid }) => {
        // No process may map its first pages. source: mmap_min_addr in Documentation/admin-guide/sysctl/vm.rst
        const plan = planOfRuns([[1, 3]])
        const pages = { pages: 3, batchPages: 1, stagedPages: 3, pagesFd: -1 }
        const reports = await whileOwnPages(5, (stagingAddress) =>
          run({
            kind: 'copy',
            ...{ pid, tid: pid, plan, stagingAddress, streamAddress: stagingAddress, ...pages },
            ...{ places: noMoves(3), gone: undefined },
          }),
        )
        const errors = reports.flatMap((report) => (report.error === undefined ? [] : [report.error]))
        expect(errors.length).toBeGreaterThan(0)
        for (const error of errors) expect(error).toMatchObject({ code: 'UNREADABLE_PAGE', details: { pid } })
        expect(Atomics.load(control, CREW.stop)).toBe(1)
        const after = await run({ kind: 'populate', address: 0, byteLength: 0 })
        expect(after.map(({ error, pieces }) => [error, pieces])).toEqual([
          [undefined, 0],
          [undefined, 0],
        ])
      })
    })
  })

  it('faults in memory, all of it', async () => {
    await withThreads(async ({ run }) => {
      const pages = 20_000
      await whileOwnPages(pages, async (address) => {
        const reports = await run({ kind: 'populate', address, byteLength: pages * PAGE })
        const there = slowPages(process.pid, address / PAGE, address / PAGE + pages)
        expect(there.filter(({ present }) => present)).toHaveLength(pages)
        expect(sum(reports, 'pieces')).toBe(Math.ceil((pages * PAGE) / 2 ** 25))
      })
    })
  })
})

describe('a report of nothing', () => {
  it('has a zero or nothing for every number', () => {
    const { guards, unreadable, slotlessChunks, ...numbers } = NO_WORK
    expect([guards, unreadable, slotlessChunks]).toEqual([[], [], []])
    expect(new Set(Object.values(numbers))).toEqual(new Set([0]))
  })
})

/** Copies the 1,000 pages of `plan`, 600 of them to memory of ours, writes those, and returns what was staged and streamed. */
async function copyAndWrite(
  run: Threads['run'],
  { pid, fd, plan }: { pid: number; fd: number; plan: ReturnType<typeof planOfRuns> },
): Promise<Buffer> {
  const batchPages = 50
  return whileOwnPages(600 + THREADS * batchPages, async (stagingAddress) => {
    const copies = await run({
      kind: 'copy',
      ...{ pid, tid: pid, plan, pages: 1000, batchPages, stagedPages: 600, stagingAddress, pagesFd: fd },
      streamAddress: stagingAddress + 600 * PAGE,
      places: noMoves(1000),
      gone: undefined,
    })
    expect([sum(copies, 'pieces'), sum(copies, 'pages')]).toEqual([20, 1000])
    expect([sum(copies, 'streamedPages'), sum(copies, 'forcedPages')]).toEqual([400, 0])
    const byteLength = 600 * PAGE
    const writes = await run({
      kind: 'write',
      ...{ pagesFd: fd, address: stagingAddress, moves: noMoves(600), pages: 600, bufferPages: 16 },
    })
    expect([sum(writes, 'pieces'), sum(writes, 'pages')]).toEqual([38, 600])
    const staged = ownBytes(stagingAddress, byteLength)
    return Buffer.concat([staged, readFileSync(`/proc/self/fd/${String(fd)}`).subarray(byteLength)])
  })
}
