/**
 * What a test asks about another process, and does to it: its tasks' states, stop, continue, wait for its end.
 *
 * The kernel offers no event for "stopped" or "gone" to a process that is not the parent, so these waits look
 * again every few milliseconds, with a deadline.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { setTimeout as delay } from 'node:timers/promises'
import { PATIENCE } from './patience.js'

const LOOK_AGAIN_MS = 2
const DEADLINE_MS = 20_000 * PATIENCE

/** State letters of the tasks of `pid` by thread id, e.g. `{4711: 'T'}`; empty where the process is gone. */
export function taskStates(pid: number): ReadonlyMap<number, string> {
  const states = new Map<number, string>()
  for (const tid of directoryEntries(`/proc/${pid}/task`)) {
    const state = stateIn(`/proc/${pid}/task/${tid}/stat`)
    if (state !== undefined) states.set(Number(tid), state)
  }
  return states
}

/** Whether nothing of `pid` is left but perhaps an entry that its parent has yet to collect. */
export function isGone(pid: number): boolean {
  return [...taskStates(pid).values()].every((state) => state === 'Z' || state === 'X')
}

/** Resolves when {@link isGone}. Throws after 20 s, times patience. */
export async function waitUntilGone(pid: number): Promise<void> {
  await waitUntil(`process ${pid} to end`, () => isGone(pid))
}

/** Sends SIGSTOP and resolves when every live thread of `pid` has stopped. */
export async function suspend(pid: number): Promise<void> {
  process.kill(pid, 'SIGSTOP')
  await waitUntil(`process ${pid} to stop`, () => isStopped(pid))
}

/** Sends SIGCONT and resolves when no thread of `pid` is stopped. */
export async function resume(pid: number): Promise<void> {
  process.kill(pid, 'SIGCONT')
  await waitUntil(`process ${pid} to continue`, () => ![...taskStates(pid).values()].includes('T'))
}

/** Whether every live thread of `pid` is stopped, by a signal (`T`) or by a tracer (`t`). */
export function isStopped(pid: number): boolean {
  const states = [...taskStates(pid).values()]
  return states.length > 0 && states.every((state) => 'TtZX'.includes(state))
}

/** Sends `signal` to `pid`; false where there is no such process any more. */
export function sendSignal(pid: number, signal: NodeJS.Signals): boolean {
  try {
    return process.kill(pid, signal)
  } catch {
    return false
  }
}

/** Resolves when `holds` returns true; throws after 20 s, times patience, naming `what`. */
export async function waitUntil(what: string, holds: () => boolean): Promise<void> {
  const deadline = Date.now() + DEADLINE_MS
  while (!holds()) {
    if (Date.now() > deadline) throw new Error(`waited ${DEADLINE_MS} ms in vain for ${what}`)
    await delay(LOOK_AGAIN_MS)
  }
}

function directoryEntries(path: string): string[] {
  try {
    return readdirSync(path)
  } catch {
    return []
  }
}

function stateIn(path: string): string | undefined {
  const stat = readText(path)
  return stat === '' ? undefined : stat.slice(stat.lastIndexOf(')') + 2)[0]
}

/** Empty where it is gone. */
function readText(path: string): string {
  try {
    return readFileSync(path, 'latin1')
  } catch {
    return ''
  }
}

/** Pids of the children of `pid`, ended ones that have not been waited for included. */
export function childrenOf(pid: number): readonly number[] {
  return directoryEntries(`/proc/${pid}/task`).flatMap((tid) =>
    readText(`/proc/${pid}/task/${tid}/children`).split(' ').filter(Boolean).map(Number),
  )
}

/** Pids of other live processes that look like copies of `pid`: the same program, started with the same words. */
export function twinsOf(pid: number): readonly number[] {
  const words = readText(`/proc/${pid}/cmdline`)
  return directoryEntries('/proc')
    .filter((name) => /^\d+$/.test(name) && name !== String(pid))
    .map(Number)
    .filter((other) => !isGone(other) && readText(`/proc/${other}/cmdline`) === words)
}
