/**
 * Real programs under load, and what their clients see while they are dumped.
 *
 *   npm run bench:programs [-- --runs 5 --mib 256 --only redis]
 *
 *   load    -----------------------------------------------------------   puts and gets, each answer checked
 *   spans      | before |         | before |         | before |
 *   dumps               |  dump   |        |  dump   |                    from the start of the tool to its end
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { runTool } from '../test/support/tool.js'
import { CAPTURES, runDump, type Capture, type DumpRun } from './dump-run.js'
import { Connection } from './programs/connection.js'
import type { ProgramFigures, ProgramResults } from './programs/figures.js'
import { fillKey, fillValue } from './programs/fill.js'
import { JVM, NODE, PYTHON } from './programs/key-servers.js'
import { latenciesIn, type Span } from './programs/latencies.js'
import { Load } from './programs/load.js'
import { POSTGRES } from './programs/postgres.js'
import type { Program, RunningProgram } from './programs/program.js'
import { printPrograms } from './programs/program-table.js'
import { REDIS } from './programs/redis.js'
import { connectWhenReady, freePort } from './programs/server-process.js'
import { median } from './statistics.js'

const PROGRAMS = [NODE, PYTHON, JVM, REDIS, POSTGRES]
const WARM_MS = 2000
const BEFORE_MS = 1000
const MAX_MEMORY = '2G'

/** How to measure. */
export interface ProgramOptions {
  /** Dumps of each kind. */
  readonly runs: number
  /** Data in each program. */
  readonly mib: number
  /** Programs whose name has this in it. */
  readonly only: string
  /** Where images go. */
  readonly folder: string
}

/** Measures every program that is there, and prints a table. */
export async function measurePrograms(options: ProgramOptions): Promise<ProgramResults> {
  const figures: ProgramFigures[] = []
  const skipped: Record<string, string> = {}
  const failed: Record<string, string> = {}
  for (const program of PROGRAMS.filter(({ name }) => name.includes(options.only))) {
    const missing = program.missing()
    if (missing !== undefined) {
      skipped[program.name] = missing
      continue
    }
    try {
      figures.push(...(await measureProgram(program, options)))
    } catch (error) {
      failed[program.name] = String(error)
    }
  }
  const results = { figures, skipped, failed }
  printPrograms(results)
  return results
}

async function measureProgram(program: Program, options: ProgramOptions): Promise<ProgramFigures[]> {
  const folder = mkdtempSync(join(tmpdir(), 'tidemark-program-'))
  const port = await freePort()
  let running: RunningProgram | undefined
  try {
    running = await program.start({ folder, port, mib: options.mib })
    return await measureRunning(program, running, port, options)
  } finally {
    await running?.stop()
    rmSync(folder, { recursive: true, force: true })
  }
}

async function measureRunning(
  program: Program,
  running: RunningProgram,
  port: number,
  options: ProgramOptions,
): Promise<ProgramFigures[]> {
  const first = await connectWhenReady(port, program.dialect)
  await running.fill((request) => first.ask(request))
  const others = Array.from({ length: program.connections - 1 }, () => Connection.open(port, program.dialect))
  const load = new Load(program.dialect, [first, ...(await Promise.all(others))], options.mib)
  try {
    await load.run(WARM_MS)
    const figures: ProgramFigures[] = []
    for (const capture of CAPTURES) {
      for (const kind of ['full', 'increment'] as const) {
        const measured = await takeDumps(
          { program, port, pid: running.targetPid(), load, options },
          capture,
          kind,
        )
        figures.push(measured)
      }
    }
    return figures
  } finally {
    await load.stop()
  }
}

interface Measurement {
  readonly program: Program
  readonly port: number
  readonly pid: number
  readonly load: Load
  readonly options: ProgramOptions
}

/** So many dumps of one kind, the load checked after each. An increment has a parent that does not count. */
async function takeDumps(
  { program, port, pid, load, options }: Measurement,
  capture: Capture,
  kind: ProgramFigures['kind'],
): Promise<ProgramFigures> {
  const images = mkdtempSync(join(options.folder, 'tidemark-program-'))
  const settings = ['--capture', capture, '--max-memory', MAX_MEMORY]
  const [before, during]: [Span[], Span[]] = [[], []]
  const dumps: DumpRun[] = []
  try {
    if (kind === 'increment') await runDump(pid, join(images, '0'), [...settings, '--track-mem'])
    for (let run = 1; run <= options.runs; run++) {
      await load.catchUp()
      before.push(await spanOf(() => load.run(BEFORE_MS)))
      const parent = kind === 'increment' ? ['--prev-images-dir', `../${String(run - 1)}`] : []
      during.push(
        await spanOf(async () => {
          dumps.push(await runDump(pid, join(images, String(run)), [...settings, ...parent]))
        }),
      )
      await load.catchUp()
      if (program.connections > 1) await checkNewcomer(program, port)
    }
  } finally {
    rmSync(images, { recursive: true, force: true })
    if (kind === 'increment') await runTool(['untrack', '-t', String(pid)])
  }
  const seen = { before: latenciesIn(load.samples, before), during: latenciesIn(load.samples, during) }
  return { program: program.name, capture, kind, ...summariseDumps(capture, dumps), ...seen }
}

async function spanOf(action: () => Promise<void>): Promise<Span> {
  const startMs = performance.now()
  await action()
  return { startMs, endMs: performance.now() }
}

/** A client that comes after the dump is served too. */
async function checkNewcomer({ dialect }: Program, port: number): Promise<void> {
  const connection = await Connection.open(port, dialect)
  const got = dialect.valueOf(await connection.ask(dialect.get(fillKey(0))))
  connection.close()
  if (got !== fillValue(0)) throw new Error(`a newcomer got a wrong value: ${got.slice(0, 80)}`)
}

function summariseDumps(
  capture: Capture,
  dumps: readonly DumpRun[],
): Omit<ProgramFigures, 'program' | 'capture' | 'kind' | 'before' | 'during'> {
  return {
    otherwise: dumps.filter(({ method }) => method !== capture).length,
    tracker: dumps.at(-1)?.tracker ?? '',
    runs: dumps.length,
    fullAfterAll: dumps.filter(({ fullBecause }) => fullBecause !== '').length,
    reasons: [...new Set(dumps.flatMap((dump) => reasonsOf(dump, capture)))],
    storedBytes: median(dumps.map(({ bytesStored }) => bytesStored)),
    frozenMs: median(dumps.map(({ frozenUs }) => frozenUs)) / 1000,
    maxFrozenMs: Math.max(...dumps.map(({ frozenUs }) => frozenUs)) / 1000,
    wallMs: median(dumps.map(({ totalUs }) => totalUs)) / 1000,
  }
}

function reasonsOf({ method, methodBecause, fullBecause }: DumpRun, wanted: Capture): string[] {
  return [...(method === wanted ? [] : [methodBecause]), ...(fullBecause === '' ? [] : [fullBecause])]
}
