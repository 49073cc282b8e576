/** What is compared: Tidemark in several settings, and other tools. Each run is a process of its own. */
import { mkdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import type { CAPTURES } from '../src/engine/options.js'
import { decodeDumpStats } from '../src/image/stats.js'
import { isFacts, numberFact, parseFacts, type Facts } from '../test/support/facts.js'
import { TOOL_PATH } from '../test/support/tool.js'
import type { Run } from './figures.js'
import { runProgram, type Ended } from './program-run.js'

/** Who made a candidate. */
export type Maker = 'tidemark' | 'criu' | 'gcore'

/** One thing to measure. */
export interface Candidate {
  readonly name: string
  readonly maker: Maker
  /** Dumps `pid` into the directory `folder`, which is not there yet. */
  readonly run: (pid: number, folder: string) => Promise<Run>
}

/** A way of taking the pages. */
export type Capture = (typeof CAPTURES)[number]

const MIB = 2 ** 20

/** Tidemark with `args`. */
export function tidemark(name: string, args: readonly string[]): Candidate {
  return { name, maker: 'tidemark', run: (pid, folder) => runTidemark(pid, folder, args) }
}

/** Runs `tidemark dump` once. */
export async function runTidemark(pid: number, folder: string, args: readonly string[]): Promise<Run> {
  const command = ['dump', '-t', String(pid), '-D', folder, '--json', '--no-sync', '--max-frozen', '60']
  const ended = await runProgram(process.execPath, [TOOL_PATH, ...command, ...args], pid)
  const result = parseFacts(ended.stdout)
  const wall = factsOf(result, 'wall')
  const { frozen = 0, total = 0, start = 0, ...rest } = millisOf(wall)
  const note = fallbackOf(result, args)
  return runOf(
    ended,
    {
      frozen,
      // Node's start, the modules, the start of the threads and their end.
      'start-up': ended.wallMs - total + start,
      work: total - start,
      stored: numberFact(result, 'pagesStored'),
      ...prefixed('frozen: ', millisOf(factsOf(result, 'frozen'))),
      ...prefixed('wall: ', rest),
    },
    note,
  )
}

/** The criu at `path`; its own stats-dump tells how long the process stood still. */
export function criu(path: string): Candidate {
  return {
    name: 'criu',
    maker: 'criu',
    run: async (pid, folder) => {
      mkdirSync(folder)
      const command = ['dump', '-t', String(pid), '-D', folder, '--leave-running', '--shell-job', '-v0']
      const ended = await runProgram(path, command, pid)
      const stats = decodeDumpStats(readFileSync(join(folder, 'stats-dump')), 'stats-dump')
      // Its clock for frozen_time starts where that for freezing_time ends; ours has both. source: criu/seize.c
      const frozen = (stats.freezingTimeUs + stats.frozenTimeUs) / 1000
      return runOf(ended, {
        frozen,
        // All that it does to the dump it does while the process stands: what is left is its beginning and its end.
        'start-up': ended.wallMs - frozen,
        work: frozen,
        'frozen: seize': stats.freezingTimeUs / 1000,
        'frozen: capture': stats.memdumpTimeUs / 1000,
        stored: stats.pagesWritten,
      })
    },
  }
}

/** gdb's gcore at `path`. It tells nothing: what is frozen is what was seen. */
export function gcore(path: string): Candidate {
  return {
    name: 'gcore',
    maker: 'gcore',
    run: async (pid, folder) => {
      mkdirSync(folder)
      const ended = await runProgram(path, ['-o', join(folder, 'core'), String(pid)], pid)
      const { stoppedMs, wallMs } = ended
      return runOf(ended, { frozen: stoppedMs, 'start-up': wallMs - stoppedMs, work: stoppedMs })
    },
  }
}

/** Runs `candidate` once on `pid` and removes what it wrote. */
export async function runOnce(candidate: Candidate, pid: number, folder: string): Promise<Run> {
  rmSync(folder, { recursive: true, force: true })
  try {
    return await candidate.run(pid, folder)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

function runOf(ended: Ended, figures: Record<string, number>, note?: string): Run {
  const common = {
    wall: ended.wallMs,
    stopped: ended.stoppedMs,
    peak: ended.peakBytes / MIB,
    disturbance: ended.disturbance,
  }
  return {
    figures: { ...figures, ...common },
    disturbance: ended.disturbance,
    ...(note === undefined ? {} : { note }),
  }
}

/** What Tidemark says where it did something else than `args` ask for: a full dump, or another way of capture. */
function fallbackOf(result: Facts, args: readonly string[]): string | undefined {
  const { capture, fullBecause } = result
  if (typeof fullBecause === 'string' && fullBecause !== '') return `a full dump: ${fullBecause}`
  const place = args.indexOf('--capture')
  if (!isFacts(capture) || place === -1) return undefined
  const { method, why } = capture
  const wanted = args[place + 1] ?? ''
  return method === wanted ? undefined : `${wanted} became ${String(method)}: ${String(why)}`
}

function factsOf(facts: Facts, key: string): Facts {
  const value = facts[key]
  if (!isFacts(value)) throw new Error(`no ${key} in ${JSON.stringify(facts)}`)
  return value
}

/** `{scanUs: 1500}` as `{scan: 1.5}`: so a new step needs no change here. */
function millisOf(times: Facts): Record<string, number> {
  return Object.fromEntries(
    Object.keys(times)
      .filter((key) => key.endsWith('Us'))
      .map((key) => [key.slice(0, -2), numberFact(times, key) / 1000]),
  )
}

function prefixed(prefix: string, figures: Readonly<Record<string, number>>): Record<string, number> {
  return Object.fromEntries(Object.entries(figures).map(([name, value]) => [`${prefix}${name}`, value]))
}
