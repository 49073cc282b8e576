/**
 * Starts a program of test/victims so that CRIU can dump it too: in a session of its own, its input a FIFO and its
 * output a file, since CRIU refuses one half of a socket pair, which is what Node's own pipes are.
 *
 *   this process ── FIFO ──▶ victim, later perhaps the one that CRIU restored ── file ──▶ this process
 *
 * Both have names, by which a restored process finds them again.
 */
import { spawn, spawnSync } from 'node:child_process'
import { closeSync, constants, mkdtempSync, openSync, readFileSync, rmSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { type Facts, numberFact, parseFacts } from './facts.js'
import { PATIENCE } from './patience.js'
import { isGone, sendSignal, waitUntilGone } from './processes.js'
import { withoutNodeOptions } from './victim.js'

const LOOK_AGAIN_MS = 20
const DEADLINE_MS = 60_000 * PATIENCE

/** A running lone victim. Its parent is this process, until CRIU restores it. */
export interface LoneVictim {
  readonly pid: number
  /** What it said when it was ready. */
  readonly facts: Facts
  /** Sends one line of command and returns the answer, also of the process that CRIU restored. One at a time. */
  readonly request: (command: string) => Promise<Facts>
  /** Kills it and resolves when it is gone. */
  readonly stop: () => Promise<void>
}

/** Starts test/victims/`name`.js with `args` and resolves when it is ready. It also ends when this process does. */
async function startLoneVictim(name: string, args: readonly string[] = []): Promise<LoneVictim> {
  const folder = mkdtempSync(join(tmpdir(), 'tidemark-victim-'))
  const fifo = join(folder, 'stdin')
  const output = join(folder, 'stdout')
  spawnSync('mkfifo', [fifo])
  // Our end keeps the victim's input open; it sees the end of it when we are gone.
  const input = openSync(fifo, constants.O_RDWR)
  const stdio = [openSync(fifo, constants.O_RDONLY), openSync(output, 'w'), openSync(output, 'a')]
  const program = fileURLToPath(new URL(`../victims/${name}.js`, import.meta.url))
  const child = spawn(process.execPath, [program, ...args], {
    stdio,
    detached: true,
    // CRIU dumps no io_uring.
    env: { ...withoutNodeOptions(), UV_USE_IO_URING: '0' },
  })
  const pid = child.pid ?? 0
  for (const fd of stdio) closeSync(fd)
  const stop = async (): Promise<void> => {
    sendSignal(pid, 'SIGKILL')
    await waitUntilGone(pid)
    closeSync(input)
    rmSync(folder, { recursive: true, force: true })
  }
  let answers = 0
  const answer = async (): Promise<Facts> => {
    const line = await lineOf(output, answers, () => isGone(pid))
    answers += 1
    const facts = parseFacts(line)
    if ('error' in facts) throw new Error(String(facts.error))
    return facts
  }
  const request = async (command: string): Promise<Facts> => {
    writeSync(input, `${command}\n`)
    return answer()
  }
  try {
    const facts = await answer()
    return { pid: numberFact(facts, 'pid'), facts, request, stop }
  } catch (error) {
    await stop()
    throw error
  }
}

/** Calls `use` with the pid of a lone victim, and ends the victim, whatever happens. */
export async function withLoneVictim<Result>(
  name: string,
  args: readonly string[],
  use: (victim: LoneVictim) => Promise<Result>,
): Promise<Result> {
  const victim = await startLoneVictim(name, args)
  try {
    return await use(victim)
  } finally {
    await victim.stop()
  }
}

/** Line `index` of the file at `path`, when it is whole. Throws where `ended` is true first, or time is up. */
async function lineOf(path: string, index: number, ended: () => boolean): Promise<string> {
  const deadline = Date.now() + DEADLINE_MS
  for (;;) {
    const last = ended()
    const text = readFileSync(path, 'utf8')
    const lines = text.split('\n')
    // What follows the last line's end is no line.
    if (index < lines.length - 1) return lines[index] ?? ''
    if (last || Date.now() > deadline) {
      throw new Error(`the lone victim ${last ? 'has ended' : 'says nothing'}: ${text}`)
    }
    await delay(LOOK_AGAIN_MS)
  }
}
