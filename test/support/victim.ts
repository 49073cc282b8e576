/**
 * Starts the programs of test/victims and ends them, whatever happens.
 *
 *   this process ── stdin, stdout ──▶ victim        one line of JSON when ready, then one for each command
 *        └──────── lifeline ────────▶ shell         parent of the victim; kills it when the lifeline closes
 *
 * The shell is there for two reasons. libuv waits for Node's own children and would eat the ptrace stops of a
 * victim that is one. And a victim that is stopped or has lost its main thread cannot notice that the test
 * was killed: the shell does, since the kernel then closes our end of the lifeline.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { chownSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { type Facts, numberFact } from './facts.js'
import { LineTalk } from './line-talk.js'
import { sendSignal, waitUntilGone } from './processes.js'

/** Who the victim runs as, and how it is started. */
export interface VictimOptions {
  readonly uid?: number
  readonly gid?: number
  /** Whether a shell stands between, which keeps libuv's hands off ptrace stops. True unless said. */
  readonly throughIntermediate?: boolean
  /** Variables added to the environment. */
  readonly env?: Readonly<Record<string, string>>
  /** Path of a program that is run instead of test/victims/`name`.js; it talks as that would. */
  readonly executable?: string
}

/** A running victim. */
export interface Victim {
  /** The process to take snapshots of, as this process numbers it. */
  readonly pid: number
  /** What the victim said when it was ready. */
  readonly facts: Facts
  /** Sends one line of command and returns the answer. Throws what the victim reports as an error, and at its end. */
  readonly request: (command: string) => Promise<Facts>
  /** Kills the victim, stopped or not, and resolves when it is gone. May be called again. */
  readonly stop: () => Promise<void>
}

const SUPERVISOR = `
trap : INT TERM HUP
exec 4<&0 0</dev/null
"$@" <&4 4<&- 3<&- &
victim=$!
exec 4<&- 1>/dev/null 2>/dev/null
echo "$victim" >&3
read -r _ <&3
kill -KILL "$victim"
wait "$victim"
rm -rf -- "$TMPDIR"
`

/** Starts test/victims/`name`.js with `args` and resolves when it is ready. Throws, with its stderr, if it dies before. */
export async function startVictim(
  name: string,
  args: readonly string[] = [],
  options: VictimOptions = {},
): Promise<Victim> {
  const directory = mkdtempSync(join(tmpdir(), 'victim-'))
  const { throughIntermediate = true } = options
  const child = launch(name, args, options, directory)
  const talk = new LineTalk(child, name)
  const closed = new Promise<void>((resolve) => {
    child.once('close', () => {
      resolve()
    })
  })
  const pids = new Set<number>()
  const stop = async (): Promise<void> => {
    for (const pid of pids) sendSignal(pid, 'SIGKILL')
    talk.close()
    await closed
    await Promise.all([...pids].map(waitUntilGone))
    rmSync(directory, { recursive: true, force: true })
  }
  try {
    pids.add(throughIntermediate ? await talk.launchedPid() : (child.pid ?? 0))
    const facts = await talk.next()
    const pid = numberFact(facts, 'pid')
    pids.add(pid)
    return { pid, facts, request: (line) => talk.request(line), stop: once(stop) }
  } catch (error) {
    await stop()
    throw error
  }
}

/** Runs `use` with a victim that ends afterwards, whatever happens. */
export async function withVictim<Result>(
  name: string,
  args: readonly string[],
  use: (victim: Victim) => Promise<Result>,
  options: VictimOptions = {},
): Promise<Result> {
  const victim = await startVictim(name, args, options)
  try {
    return await use(victim)
  } finally {
    await victim.stop()
  }
}

function launch(
  name: string,
  args: readonly string[],
  options: VictimOptions,
  directory: string,
): ChildProcess {
  const { uid, gid = uid, throughIntermediate = true, executable } = options
  if (uid !== undefined) chownSync(directory, uid, gid ?? uid)
  const program = fileURLToPath(new URL(`../victims/${name}.js`, import.meta.url))
  const wrapper = throughIntermediate ? ['/bin/sh', '-c', SUPERVISOR, 'sh'] : []
  const command = executable === undefined ? [process.execPath, program] : [executable]
  const [file = '', ...words] = [...wrapper, ...command, ...args]
  return spawn(file, words, {
    stdio: ['pipe', 'pipe', 'pipe', 'pipe'],
    // libuv's io_uring rings are memory of the kernel's, which makes a snapshot incomplete; Node 20 has none.
    env: { ...withoutNodeOptions(), UV_USE_IO_URING: '0', TMPDIR: directory, ...options.env },
    ...(uid === undefined ? {} : { uid }),
    ...(gid === undefined ? {} : { gid }),
  })
}

/** This process's environment without NODE_OPTIONS, which jest needs and its children do not. */
export function withoutNodeOptions(): NodeJS.ProcessEnv {
  const environment = { ...process.env }
  delete environment.NODE_OPTIONS
  return environment
}

function once(action: () => Promise<void>): () => Promise<void> {
  let done: Promise<void> | undefined
  return () => (done ??= action())
}
