import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals'
import { tune, type TuneResult, type TuneSample } from '../../src/index.js'
import { userfaultfdsOf } from '../support/descriptors.js'
import { stringFact } from '../support/facts.js'
import { pageSize } from '../support/kernel-vmas.js'
import { suspend, resume, taskStates } from '../support/processes.js'
import { knownPages } from '../support/snapshots.js'
import { withTempDir } from '../support/tool.js'
import { expectUnharmed } from '../support/unharmed.js'
import { startVictim, type Victim } from '../support/victim.js'

const PAGE = pageSize()
const VMAS = 20
const PAGES_PER_VMA = 256

let victim: Victim
beforeAll(async () => {
  victim = await startVictim('plain', [
    '--vmas',
    String(VMAS),
    '--pages-per-vma',
    String(PAGES_PER_VMA),
    '--gap',
  ])
})
afterAll(async () => {
  await victim.stop()
})

/** Runs `use`, and fails unless it leaves the victim as it was: content, descriptors, tracking. */
async function unchanged<Result>(use: () => Promise<Result>): Promise<Result> {
  const look = async (): Promise<readonly string[]> => [
    stringFact(await victim.request('checksum'), 'sha256'),
    ...readdirSync(`/proc/${String(victim.pid)}/fd`),
  ]
  const before = await look()
  const result = await use()
  await expectUnharmed(victim)
  expect(await look()).toEqual(before)
  expect(userfaultfdsOf(victim.pid)).toEqual([])
  // Memory that a userfaultfd watches has one of these flags. source: proc_pid_smaps(5)
  expect(readFileSync(`/proc/${String(victim.pid)}/smaps`, 'latin1')).not.toMatch(/^VmFlags:.* (um|uw) /m)
  return result
}

/** What every freeze measured. */
function allSamples({ warmUp, trials }: TuneResult): readonly TuneSample[] {
  return [warmUp, ...trials.flatMap((trial) => trial.samples)]
}

/** Fails unless the figures of `result` agree with each other. */
function expectConsistent(result: TuneResult, rounds: number): void {
  const samples = allSamples(result)
  expect(result.trials.map((trial) => trial.samples.length)).toEqual(result.trials.map(() => rounds))
  expect(result.freezes).toBe(samples.length)
  expect(result.frozenUs).toBe(samples.reduce((sum, { frozenUs }) => sum + frozenUs, 0))
  expect(result.longestFrozenUs).toBe(Math.max(...samples.map(({ frozenUs }) => frozenUs)))
  for (const { scanUs, captureUs, frozenUs } of samples) {
    expect(Math.min(scanUs, captureUs)).toBeGreaterThan(0)
    expect(scanUs + captureUs).toBeLessThanOrEqual(frozenUs)
  }
}

describe('tuning', () => {
  it('tries each setting in each round, and every dump takes the whole process', async () => {
    await suspend(victim.pid)
    const { required, optional } = knownPages(victim.pid)
    const told: number[] = []
    const result = await tune({
      pid: victim.pid,
      workers: 2,
      rounds: 2,
      onProgress: ({ doneFreezes, totalFreezes }) => {
        told.push(totalFreezes - doneFreezes)
        expect([...taskStates(victim.pid).values()]).not.toContain('t')
      },
    })
    await resume(victim.pid)
    await expectUnharmed(victim)
    expectConsistent(result, 2)
    expect(told).toEqual(Array.from({ length: result.freezes + 1 }, (_, index) => result.freezes - index))
    for (const { pages, streamedBytes, writeUs, syncUs } of allSamples(result)) {
      expect(pages).toBeGreaterThanOrEqual(required.length)
      expect(pages).toBeLessThanOrEqual(required.length + optional.size)
      expect([streamedBytes, writeUs, syncUs]).toEqual([0, 0, 0])
    }
    expect(result).toMatchObject({
      pid: victim.pid,
      imagesDir: undefined,
      writtenBytes: 0,
      maxMemory: undefined,
    })
    expect(new Set(result.trials.map(({ varied }) => varied))).toEqual(
      new Set(['nothing', 'workers', 'shardPages', 'bufferSize']),
    )
    expect(result.trials[0]).toMatchObject({
      varied: 'nothing',
      workers: 2,
      shardPages: undefined,
      bufferSize: 2 ** 20,
    })
    for (const name of ['workers', 'shardPages', 'bufferSize'] as const)
      expect(result.trials.map((trial) => trial[name])).toContain(result.choice[name])
  })

  it('leaves nothing in the process', async () => {
    await unchanged(() => tune({ pid: victim.pid, workers: 1, rounds: 1 }))
  })

  it('leaves what is set as it is', async () => {
    const shardPages = 1000
    const bufferSize = 3 * PAGE
    const result = await tune({ pid: victim.pid, workers: 2, rounds: 1, shardPages, bufferSize })
    expect(result.trials.map(({ varied, workers }) => [varied, workers])).toEqual([
      ['nothing', 2],
      ['workers', 1],
    ])
    expect(result.trials).toEqual(result.trials.map((trial) => ({ ...trial, shardPages, bufferSize })))
  })

  it('writes all memory below the directory, and leaves there what was there', async () => {
    await withTempDir(async (directory) => {
      writeFileSync(join(directory, 'tidemark.json'), 'another')
      const seen = new Set<string>()
      const result = await unchanged(() =>
        tune({
          pid: victim.pid,
          workers: 1,
          rounds: 1,
          imagesDir: directory,
          onProgress: () => readdirSync(directory).forEach((name) => seen.add(name)),
        }),
      )
      expectConsistent(result, 1)
      expect([...seen]).toEqual(['tidemark.json'])
      expect(readdirSync(directory)).toEqual(['tidemark.json'])
      const samples = allSamples(result)
      expect(result.writtenBytes).toBe(samples.reduce((sum, { pages }) => sum + pages * PAGE, 0))
      for (const { writeUs, syncUs } of samples) {
        expect(writeUs).toBeGreaterThan(0)
        expect(syncUs).toBeGreaterThan(0)
      }
    })
  })

  it('removes a directory that it made, and what a run that was killed left', async () => {
    await withTempDir(async (directory) => {
      const options = { pid: victim.pid, workers: 1, rounds: 1, shardPages: 1000, bufferSize: PAGE }
      await tune({ ...options, imagesDir: join(directory, 'new/deep') })
      expect(readdirSync(directory)).toEqual([])
      const left = join(directory, '.tidemark-tune/.tidemark-partial')
      mkdirSync(left, { recursive: true })
      writeFileSync(join(left, 'pages-1.img'), 'left')
      await tune({ ...options, imagesDir: directory })
      expect(readdirSync(directory)).toEqual([])
    })
  })

  it.each([
    ['nowhere', false],
    ['to the disk', true],
  ])('recommends enough memory where not all fits, going %s', async (_, writes) => {
    await withTempDir(async (directory) => {
      const maxMemory = 2 ** 22
      const result = await tune({
        ...{ pid: victim.pid, workers: 1, rounds: 1, shardPages: 1000, bufferSize: 2 ** 16, maxMemory },
        ...(writes ? { imagesDir: directory } : {}),
      })
      const [sample] = result.trials[0]?.samples ?? []
      expect(sample?.streamedBytes).toBe((sample?.pages ?? 0) * PAGE - maxMemory)
      expect(result.maxMemory).toBeGreaterThanOrEqual((sample?.pages ?? 0) * PAGE)
      expect(result.warnings).toContainEqual(expect.stringContaining('--max-memory'))
      expect(readdirSync(directory)).toEqual([])
    })
  })
})

describe('a tuning that fails', () => {
  it.each([
    ['rounds', { rounds: 0 }],
    ['rounds', { rounds: 1.5 }],
    ['rounds', { rounds: 101 }],
    ['bufferSize', { bufferSize: 5000 }],
    ['workers', { workers: 0 }],
    ['imagesDir', { imagesDir: '' }],
  ])('for a bad value of %s does nothing', async (option, options) => {
    await expect(tune({ pid: victim.pid, ...options })).rejects.toMatchObject({
      code: 'BAD_OPTION',
      details: { option },
    })
  })

  it('where the process stands too long lets it go, and leaves nothing', async () => {
    await withTempDir(async (directory) => {
      const call = tune({
        pid: victim.pid,
        imagesDir: join(directory, 'images'),
        maxMemory: 0,
        maxFrozenMs: 1,
      })
      await expect(call).rejects.toMatchObject({ code: 'FROZEN_TOO_LONG' })
      expect(readdirSync(directory)).toEqual([])
      await expectUnharmed(victim)
    })
  })

  it('where there is no such directory and none can be made freezes nothing', async () => {
    const call = tune({ pid: victim.pid, imagesDir: '/proc/none' })
    await expect(call).rejects.toMatchObject({ code: 'IMAGES_DIR_UNUSABLE' })
    await expectUnharmed(victim)
  })

  it.each([0, 1, 3])('by an AbortSignal after %d freezes ends, and leaves nothing', async (freezes) => {
    await withTempDir(async (directory) => {
      const controller = new AbortController()
      let done = -1
      const imagesDir = join(directory, 'images')
      const call = tune({
        ...{ pid: victim.pid, workers: 2, imagesDir, signal: controller.signal },
        onProgress: ({ doneFreezes }) => {
          done = doneFreezes
          if (doneFreezes === freezes) controller.abort()
        },
      })
      await expect(call).rejects.toMatchObject({ code: 'INTERRUPTED' })
      expect(done).toBe(freezes)
      expect(existsSync(imagesDir)).toBe(false)
      await expectUnharmed(victim)
    })
  })
})
