/**
 * Runs the built command as a user would: as a process of its own, seen only through its output and status.
 */
import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { PATIENCE } from './patience.js'
import { withoutNodeOptions } from './victim.js'

/** Path of the built command. */
export const TOOL_PATH = fileURLToPath(new URL('../../src/cli/main.js', import.meta.url))

/** How the command is run. */
export interface ToolOptions {
  /** Variables added to the environment. */
  readonly env?: Readonly<Record<string, string>>
  readonly uid?: number
  readonly gid?: number
  readonly cwd?: string
  /** Text for stdin, which is empty unless said. */
  readonly input?: string
  /** After this the command is killed, and the run has failed. A minute, times patience, unless said. */
  readonly timeoutMs?: number
}

/** What a run of the command came to. */
export interface ToolRun {
  /** Exit status, or null where a signal ended it. */
  readonly status: number | null
  readonly signal: NodeJS.Signals | null
  readonly stdout: string
  readonly stderr: string
}

/** A running command. */
export interface RunningTool {
  readonly pid: number
  /** The first text that `pattern` matches in stdout or stderr, past or to come. Throws when the command ends without. */
  output(pattern: RegExp): Promise<string>
  /** False where it has ended already. */
  kill(signal: NodeJS.Signals): boolean
  /** Whether it has ended. */
  ended(): boolean
  /** Resolves at its end, also by a signal. Throws at the time limit. */
  readonly finished: Promise<ToolRun>
}

const DEFAULT_TIMEOUT_MS = 60_000 * PATIENCE

/** Runs the command with `args` to its end. Throws at the time limit, not for a bad status. */
export async function runTool(args: readonly string[], options: ToolOptions = {}): Promise<ToolRun> {
  return startTool(args, options).finished
}

/** Starts the command with `args`; for one that is to be killed midway. */
export function startTool(args: readonly string[], options: ToolOptions = {}): RunningTool {
  return startProgram(TOOL_PATH, args, options)
}

/** Starts any Node program in the same way. */
export function startProgram(path: string, args: readonly string[], options: ToolOptions = {}): RunningTool {
  return startCommand(process.execPath, [path, ...args], options)
}

/** Starts any program in the same way. */
export function startCommand(file: string, args: readonly string[], options: ToolOptions = {}): RunningTool {
  const { env, uid, gid = uid, cwd, input = '', timeoutMs = DEFAULT_TIMEOUT_MS } = options
  const child = spawn(file, args, {
    stdio: 'pipe',
    env: { ...withoutNodeOptions(), ...env },
    ...(uid === undefined ? {} : { uid }),
    ...(gid === undefined ? {} : { gid }),
    ...(cwd === undefined ? {} : { cwd }),
  })
  let stdout = ''
  let stderr = ''
  let timedOut = false
  const listeners = new Set<() => void>()
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    stdout += text
    for (const listener of listeners) listener()
  })
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text
    for (const listener of listeners) listener()
  })
  child.stdin.on('error', () => {
    // A command that ends without reading its stdin is no failure of the run.
  })
  child.stdin.end(input)
  const timer = setTimeout(() => {
    timedOut = true
    child.kill('SIGKILL')
  }, timeoutMs)
  const finished = new Promise<ToolRun>((resolve, reject) => {
    child.once('error', reject)
    child.once('close', (status, signal) => {
      clearTimeout(timer)
      if (timedOut) reject(new Error(`not done after ${timeoutMs} ms: ${args.join(' ')}\n${stdout}${stderr}`))
      else resolve({ status, signal, stdout, stderr })
    })
  })
  const output = (pattern: RegExp): Promise<string> =>
    new Promise((resolve, reject) => {
      const look = (): void => {
        const found = pattern.exec(stdout) ?? pattern.exec(stderr)
        if (found === null) return
        listeners.delete(look)
        resolve(found[0])
      }
      listeners.add(look)
      look()
      const missed = (): void => {
        reject(new Error(`ended without a match of ${String(pattern)}\n${stdout}${stderr}`))
      }
      finished.then(missed, missed)
    })
  return {
    pid: child.pid ?? 0,
    output,
    kill: (signal) => child.kill(signal),
    ended: () => child.exitCode !== null || child.signalCode !== null,
    finished,
  }
}

/** Runs `use` with a fresh directory, which is removed afterwards, whatever happens. */
export async function withTempDir<Result>(
  use: (directory: string) => Promise<Result>,
  parent = tmpdir(),
): Promise<Result> {
  const directory = mkdtempSync(join(parent, 'tidemark-test-'))
  try {
    return await use(directory)
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
}
