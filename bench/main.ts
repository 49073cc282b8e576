/**
 * The benchmark: the same victims, dumped by each candidate in turn, medians and ratios of one run.
 *
 *   npm run bench                                     everything, a table on stdout
 *   npm run bench -- --against criu=/usr/sbin/criu    CRIU beside it
 *   npm run bench -- --runs 3 --only 1g --json FILE   part of it, and the figures as JSON
 *   npm run bench -- --increments --gib 4             increments only, by tracker and by what changed
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import yargs from 'yargs'
import { hideBin } from 'yargs/helpers'
import { criu, runOnce, tidemark, type Candidate, type Run } from './candidates.js'
import { probeAsyncProtect } from '../src/kernel/async-protect.js'
import { probeKernel } from '../src/kernel/features.js'
import { TRACKER_NAMES } from '../src/track/tracker.js'
import { withLoneVictim } from '../test/support/lone-victim.js'
import { describeMachine, fileSystemOf, warmMemory } from './machine.js'
import { measureIncrements, printFigures, printHead, type IncrementFigures } from './increments.js'
import { runMicroBenchmarks } from './micro.js'
import { medians, printTable, type Measured } from './table.js'

interface Shape {
  readonly name: string
  readonly bytes: number
  readonly victim: string
  readonly args: readonly string[]
  readonly maxMemory: string
  /** More than one setting of workers. */
  readonly scaling: boolean
}

const GIB = 2 ** 30
const plain = (vmas: number, pages: number): string[] => [
  '--vmas',
  String(vmas),
  '--pages-per-vma',
  String(pages),
  '--gap',
]

const SHAPES: readonly Shape[] = [
  { name: '1g-100', bytes: GIB, victim: 'plain', args: plain(100, 2621), maxMemory: '1200M', scaling: false },
  {
    name: '1g-10000',
    bytes: GIB,
    victim: 'plain',
    args: plain(10_000, 26),
    maxMemory: '1200M',
    scaling: false,
  },
  {
    name: '4g-1000',
    bytes: 4 * GIB,
    victim: 'plain',
    args: plain(1000, 1048),
    maxMemory: '4500M',
    scaling: true,
  },
  {
    name: '20t-sparse',
    bytes: 2 ** 22,
    victim: 'sparse',
    args: ['--span', '20480', '--pages', '1000'],
    maxMemory: '64M',
    scaling: false,
  },
]

/** Runs that other processes disturbed more than this are taken again, so many times at most. */
const MAX_DISTURBANCE = 0.1
const EXTRA_RUNS = 10

const options = await yargs(hideBin(process.argv))
  .options({
    runs: { type: 'number', default: 5, describe: 'undisturbed runs of each candidate' },
    only: { type: 'string', default: '', describe: 'shapes whose name has this in it' },
    against: { type: 'string', describe: 'criu=PATH: measure that criu beside it' },
    tmpfs: { type: 'string', default: '/dev/shm' },
    disk: { type: 'string', default: tmpdir() },
    micro: { type: 'boolean', default: true, describe: 'the benchmarks of single functions too' },
    increments: { type: 'boolean', default: false, describe: 'measure increments instead' },
    gib: { type: 'number', default: 1, describe: 'size of the process for increments' },
    json: { type: 'string', describe: 'write all figures to this file' },
  })
  .strict()
  .parseAsync()

function candidatesFor(shape: Shape): Candidate[] {
  const budget = ['--max-memory', shape.maxMemory]
  const list = [tidemark('tidemark', budget)]
  if (shape.scaling) {
    list.push(tidemark('tidemark, 1 worker', [...budget, '--workers', '1']))
    list.push(tidemark('tidemark, 1 GiB staging', ['--max-memory', '1G']))
  }
  const [peer, path] = options.against?.split('=') ?? []
  if (peer === 'criu' && path !== undefined && shape.victim === 'plain') list.push(criu(path))
  return list
}

/** Undisturbed runs of every candidate, in turn. */
async function measureShape(shape: Shape, parent: string): Promise<Measured[]> {
  const folder = mkdtempSync(join(parent, 'tidemark-bench-'))
  const candidates = candidatesFor(shape)
  const runs = new Map<Candidate, Run[]>(candidates.map((candidate) => [candidate, []]))
  try {
    await withLoneVictim(shape.victim, shape.args, async ({ pid }) => {
      for (let round = 0; round < options.runs + EXTRA_RUNS; round++) {
        for (const candidate of candidates) {
          const taken = runs.get(candidate) ?? []
          if (taken.length >= options.runs) continue
          // Staging memory and page cache are both new to each run, and some more.
          warmMemory(2.5 * shape.bytes + GIB / 2)
          const run = await runOnce(candidate, pid, join(folder, 'images'))
          if (run.disturbance <= MAX_DISTURBANCE) taken.push(run)
        }
      }
    })
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
  return candidates.map((candidate) => ({
    shape: shape.name,
    target: fileSystemOf(parent),
    candidate: candidate.name,
    runs: runs.get(candidate)?.length ?? 0,
    median: medians(runs.get(candidate) ?? []),
  }))
}

/** Increments under every tracker that works here. */
async function runIncrements(): Promise<IncrementFigures[]> {
  const works = {
    'soft-dirty': probeKernel().softDirty,
    'uffd-wp': probeAsyncProtect(probeKernel()),
    content: true,
  }
  const trackers = TRACKER_NAMES.filter((name) => works[name] && name.includes(options.only))
  printHead(options.gib)
  const { gib, runs } = options
  return await measureIncrements({ gib, runs, trackers, folder: options.tmpfs }, printFigures)
}

const machine = describeMachine()
console.log(
  `${machine.cpu}, ${String(machine.cores)} cores, ${(machine.memoryBytes / GIB).toFixed(0)} GiB, Linux ${machine.kernel}, ` +
    `Node ${machine.node}, THP ${machine.thp}, ${machine.date}; medians of ${String(options.runs)} runs, no sync`,
)
const measured: Measured[] = []
const increments = options.increments ? await runIncrements() : []
for (const shape of options.increments ? [] : SHAPES.filter(({ name }) => name.includes(options.only))) {
  for (const parent of [options.tmpfs, options.disk]) measured.push(...(await measureShape(shape, parent)))
}
if (!options.increments) printTable(measured)
const micro = options.micro && !options.increments ? await runMicroBenchmarks() : []
if (options.json !== undefined) {
  writeFileSync(options.json, `${JSON.stringify({ machine, measured, increments, micro }, undefined, 2)}\n`)
}
