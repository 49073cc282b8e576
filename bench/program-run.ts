/** Runs a candidate as a process of its own, to its end, and tells what it took. */
import { spawn, type ChildProcess } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { sendSignal } from '../test/support/processes.js'
import { busySeconds, cpuSeconds } from './machine.js'
import { withStoppedTime } from './stopped-time.js'

/** What a run came to. */
export interface Ended {
  /** From the command line to its exit. */
  readonly wallMs: number
  /** How long the victim was seen in a stop. */
  readonly stoppedMs: number
  readonly stdout: string
  /** Largest resident memory of the program, or of one of its children, that was seen. */
  readonly peakBytes: number
  /** Part of all cores' time that other processes took meanwhile. */
  readonly disturbance: number
}

const SAMPLE_MS = 5
const TIMEOUT_MS = 120_000
const ERROR_LENGTH = 300

/** Runs `program` while `victim` is watched. Throws with the last words of its stderr where it fails or takes too long. */
export async function runProgram(program: string, args: readonly string[], victim: number): Promise<Ended> {
  const { result, stoppedMs } = await withStoppedTime(victim, () => runTimed(program, args, victim))
  return { ...result, stoppedMs }
}

async function runTimed(
  program: string,
  args: readonly string[],
  victim: number,
): Promise<Omit<Ended, 'stoppedMs'>> {
  // An idle victim works only for the candidate, e.g. to fork.
  const oursNow = (): number => cpuSeconds(process.pid) + cpuSeconds(victim)
  const oursBefore = oursNow()
  const busyBefore = busySeconds()
  const begun = performance.now()
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'] })
  const { stdout, peakBytes } = await finish(child, `${program} ${args.join(' ')}`)
  const wallMs = performance.now() - begun
  const others = Math.max(0, busySeconds() - busyBefore - (oursNow() - oursBefore))
  return { wallMs, stdout, peakBytes, disturbance: others / (wallMs / 1000) / availableParallelism() }
}

async function finish(
  child: ChildProcess,
  command: string,
): Promise<{ readonly stdout: string; readonly peakBytes: number }> {
  let stdout = ''
  let stderr = ''
  let peakBytes = 0
  child.stdout?.on('data', (data: Buffer) => (stdout += data.toString()))
  child.stderr?.on('data', (data: Buffer) => (stderr += data.toString()))
  const { pid } = child
  const sampler = setInterval(() => {
    if (pid !== undefined) peakBytes = Math.max(peakBytes, ...[pid, ...childrenOf(pid)].map(peakOf))
  }, SAMPLE_MS)
  const timer = setTimeout(() => {
    stderr = `not done after ${TIMEOUT_MS / 1000} s`
    // gcore is a script, and what it has started would go on.
    if (pid !== undefined) for (const one of [...childrenOf(pid), pid]) sendSignal(one, 'SIGKILL')
  }, TIMEOUT_MS)
  try {
    const status = await new Promise<number | null>((resolve, reject) => {
      child.once('error', reject)
      child.once('close', resolve)
    })
    if (status !== 0) throw new Error(`${command}: status ${String(status)}: ${lastWords(stderr)}`)
    return { stdout, peakBytes }
  } finally {
    clearInterval(sampler)
    clearTimeout(timer)
  }
}

function lastWords(text: string): string {
  return text.trim().replaceAll('\n', '; ').slice(-ERROR_LENGTH)
}

function childrenOf(pid: number): number[] {
  const text = readOrEmpty(`/proc/${pid}/task/${pid}/children`).trim()
  return text === '' ? [] : text.split(' ').map(Number)
}

function peakOf(pid: number): number {
  const line = /^VmHWM:\s*(\d+) kB/m.exec(readOrEmpty(`/proc/${pid}/status`))
  return Number(line?.[1] ?? 0) * 1024
}

/** The text of a file of a process that may have ended. */
function readOrEmpty(path: string): string {
  try {
    return readFileSync(path, 'latin1')
  } catch {
    return ''
  }
}
