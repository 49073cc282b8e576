/** Starting and ending what is measured: by pid, whatever happens, and never for longer than the limit. */
import { spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { createServer } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { startCommand, type RunningTool, type ToolOptions } from '../../test/support/tool.js'
import { Connection } from './connection.js'
import type { Dialect } from './program.js'

/** After this a program is killed, and its measurement has failed. */
const LIFE_MS = 300_000
const LISTEN_MS = 60_000
const STOP_MS = 5_000
const RETRY_MS = 50

/** A program of ours. */
export interface ServerProcess {
  readonly pid: number
  /** Resolves when stdout or stderr has had a match of `pattern`. Throws where it ends before. */
  readonly said: (pattern: RegExp) => Promise<unknown>
  /** Sends `signal`, waits for its end, and kills it where it does not end. */
  readonly stop: (signal: NodeJS.Signals) => Promise<void>
}

const living = new Set<RunningTool>()

// Where the benchmark itself is ended, nothing of it stays behind.
process.on('exit', () => {
  for (const running of living) running.kill('SIGKILL')
})

/** Starts the command `file`. */
export function startServer(file: string, args: readonly string[], options: ToolOptions = {}): ServerProcess {
  const running = startCommand(file, args, { ...options, timeoutMs: LIFE_MS })
  living.add(running)
  const ended = running.finished.catch(() => undefined).then(() => living.delete(running))
  return {
    pid: running.pid,
    said: (pattern) => running.output(pattern),
    stop: async (signal) => {
      running.kill(signal)
      await Promise.race([ended, sleep(STOP_MS, undefined, { ref: false })])
      running.kill('SIGKILL')
      await ended
    },
  }
}

/** A port of 127.0.0.1 on which nobody listens. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  server.close()
  await once(server, 'close')
  if (address === null || typeof address === 'string') throw new Error('no port')
  return address.port
}

/** A connection to `port`, as soon as somebody listens there. */
export async function connectWhenReady(port: number, dialect: Dialect): Promise<Connection> {
  const deadline = Date.now() + LISTEN_MS
  for (;;) {
    try {
      return await Connection.open(port, dialect)
    } catch (error) {
      if (Date.now() > deadline) throw error
      await sleep(RETRY_MS)
    }
  }
}

/** Whether the command can be run with `args`, such as --version. */
export function runs(file: string, ...args: readonly string[]): boolean {
  return spawnSync(file, args, { stdio: 'ignore' }).status === 0
}
