/** What is compared: Tidemark in several settings, and CRIU where it is given. Each run is a process of its own. */
import { spawn } from 'node:child_process'
import { mkdirSync, readFileSync, rmSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { decodeDumpStats } from '../src/image/stats.js'
import { TOOL_PATH } from '../test/support/tool.js'
import { busySeconds, cpuSeconds } from './machine.js'

/** Figures of one run. Times in milliseconds. */
export interface Run {
  readonly frozenMs: number
  /** From the command line to its exit. */
  readonly wallMs: number
  readonly scanMs?: number
  readonly planMs?: number
  readonly captureMs?: number
  readonly writeMs?: number
  readonly prepareMs?: number
  /** Largest resident memory that was seen. */
  readonly peakBytes?: number
  /** Part of all cores' time that other processes took meanwhile. */
  readonly disturbance: number
}

/** One thing to measure. */
export interface Candidate {
  readonly name: string
  /** Dumps `pid` into the directory `folder`, which is not there yet. */
  readonly run: (pid: number, folder: string) => Promise<Run>
}

interface Ended {
  readonly wallMs: number
  readonly stdout: string
  readonly peakBytes: number
  readonly disturbance: number
}

/** Tidemark with `args`. */
export function tidemark(name: string, args: readonly string[]): Candidate {
  return {
    name,
    run: async (pid, folder) => {
      const command = [TOOL_PATH, 'dump', '-t', String(pid), '-D', folder, '--json', '--no-sync', ...args]
      const ended = await runProgram(process.execPath, command)
      const { frozen, wall } = parseResult(ended.stdout)
      return {
        frozenMs: wall.frozenUs / 1000,
        wallMs: ended.wallMs,
        scanMs: frozen.scanUs / 1000,
        planMs: frozen.planUs / 1000,
        captureMs: frozen.captureUs / 1000,
        writeMs: wall.writeUs / 1000,
        prepareMs: wall.prepareUs / 1000,
        peakBytes: ended.peakBytes,
        disturbance: ended.disturbance,
      }
    },
  }
}

interface TidemarkTimes {
  readonly frozen: { readonly scanUs: number; readonly planUs: number; readonly captureUs: number }
  readonly wall: { readonly frozenUs: number; readonly writeUs: number; readonly prepareUs: number }
}

function parseResult(stdout: string): TidemarkTimes {
  const result: unknown = JSON.parse(stdout)
  if (!isResult(result)) throw new Error(`no result: ${stdout}`)
  return result
}

function isResult(value: unknown): value is TidemarkTimes {
  return typeof value === 'object' && value !== null && 'frozen' in value && 'wall' in value
}

/** The criu at `path`; its own stats-dump tells how long the process stood still. */
export function criu(path: string): Candidate {
  return {
    name: 'criu',
    run: async (pid, folder) => {
      mkdirSync(folder)
      const command = ['dump', '-t', String(pid), '-D', folder, '--leave-running', '--shell-job', '-v0']
      const ended = await runProgram(path, command)
      const stats = decodeDumpStats(readFileSync(join(folder, 'stats-dump')), 'stats-dump')
      return {
        frozenMs: stats.frozenTimeUs / 1000,
        wallMs: ended.wallMs,
        captureMs: stats.memdumpTimeUs / 1000,
        peakBytes: ended.peakBytes,
        disturbance: ended.disturbance,
      }
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

const SAMPLE_MS = 5

/** Runs a program to its end, sampling its memory and CPU time. Throws with its stderr where it fails. */
async function runProgram(program: string, args: readonly string[]): Promise<Ended> {
  const busyBefore = busySeconds()
  const ownBefore = process.cpuUsage()
  const begun = performance.now()
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'] })
  const pid = child.pid ?? 0
  let stdout = ''
  let stderr = ''
  let peakBytes = 0
  let cpu = 0
  child.stdout.on('data', (data: Buffer) => (stdout += data.toString()))
  child.stderr.on('data', (data: Buffer) => (stderr += data.toString()))
  const sampler = setInterval(() => {
    peakBytes = Math.max(peakBytes, peakOf(pid))
    cpu = Math.max(cpu, cpuSeconds(pid))
  }, SAMPLE_MS)
  const status = await new Promise<number | null>((resolve, reject) => {
    child.once('error', reject)
    child.once('close', resolve)
  })
  clearInterval(sampler)
  const wallMs = performance.now() - begun
  if (status !== 0) throw new Error(`${program} ${args.join(' ')} ended with ${String(status)}: ${stderr}`)
  const own = process.cpuUsage(ownBefore)
  const others = busySeconds() - busyBefore - cpu - (own.user + own.system) / 1e6
  return {
    wallMs,
    stdout,
    peakBytes,
    disturbance: Math.max(0, others) / (wallMs / 1000) / availableParallelism(),
  }
}

function peakOf(pid: number): number {
  try {
    const line = /^VmHWM:\s*(\d+) kB/m.exec(readFileSync(`/proc/${String(pid)}/status`, 'latin1'))
    return Number(line?.[1] ?? 0) * 1024
  } catch {
    return 0
  }
}
