/**
 * Starts a program of test/victims so that CRIU can dump it too: in a session of its own, its input a FIFO and
 * its output a file, since CRIU refuses one half of a socket pair, which is what Node's own pipes are.
 */
import { spawn, spawnSync } from 'node:child_process'
import { closeSync, constants, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'

const READY_TRIES = 3000
const READY_PAUSE_MS = 20

/** Calls `use` with the pid of a victim that is ready, and ends the victim. It also ends when this process does. */
export async function withLoneVictim<T>(
  name: string,
  args: readonly string[],
  use: (pid: number) => Promise<T>,
): Promise<T> {
  const folder = mkdtempSync(join(tmpdir(), 'tidemark-victim-'))
  const fifo = join(folder, 'stdin')
  const output = join(folder, 'stdout')
  spawnSync('mkfifo', [fifo])
  // Our end keeps the victim's input open; it sees the end of it when we are gone.
  const input = openSync(fifo, constants.O_RDWR)
  const stdio = [openSync(fifo, constants.O_RDONLY), openSync(output, 'w'), openSync(output, 'a')]
  const program = fileURLToPath(new URL(`../test/victims/${name}.js`, import.meta.url))
  const child = spawn(process.execPath, [program, ...args], { stdio, detached: true })
  const ended = new Promise((resolve) => child.once('exit', resolve))
  try {
    for (const fd of stdio) closeSync(fd)
    await waitForLine(output)
    return await use(child.pid ?? 0)
  } finally {
    child.kill('SIGKILL')
    await ended
    closeSync(input)
    rmSync(folder, { recursive: true, force: true })
  }
}

async function waitForLine(path: string): Promise<void> {
  for (let tries = 0; tries < READY_TRIES; tries++) {
    if (readFileSync(path, 'utf8').includes('\n')) return
    await sleep(READY_PAUSE_MS)
  }
  throw new Error('the victim did not become ready')
}
