/**
 * Whether a dump, failed or not, has left its target as it was.
 */
import { readFileSync } from 'node:fs'
import { expect } from '@jest/globals'
import { taskStates, waitUntil } from './processes.js'
import type { Victim } from './victim.js'

/** Pids that trace a thread of `pid`; none where nobody does. */
export function tracersOf(pid: number): readonly number[] {
  const tracers = [...taskStates(pid).keys()].map((tid) => {
    const status = readStatusText(pid, tid)
    return Number(/^TracerPid:\s+(\d+)$/m.exec(status)?.[1] ?? 0)
  })
  return [...new Set(tracers)].filter((tracer) => tracer !== 0)
}

/** Whether no thread of `pid` is stopped, by a signal or by a tracer. */
export function isRunning(pid: number): boolean {
  const states = [...taskStates(pid).values()]
  return states.length > 0 && states.every((state) => state !== 'T' && state !== 't')
}

/** Fails unless `pid` runs and nobody traces it. It may take a moment for the kernel to wake a thread. */
export async function expectRunning(pid: number): Promise<void> {
  await waitUntil(`process ${pid} to run`, () => isRunning(pid))
  expect(tracersOf(pid)).toEqual([])
}

/** Fails unless the victim runs, is traced by nobody and answers. */
export async function expectUnharmed(victim: Victim): Promise<void> {
  await expectRunning(victim.pid)
  expect(await victim.request('ping')).toEqual({ pong: true })
}

function readStatusText(pid: number, tid: number): string {
  try {
    return readFileSync(`/proc/${pid}/task/${tid}/status`, 'latin1')
  } catch {
    return ''
  }
}
