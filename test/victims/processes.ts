/**
 * Threads and processes that the victims make through the C library, running machine-code.ts.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { PAGE_SIZE } from './content.js'
import { addressOf, checked, declare } from './libc.js'
import { loadCode, pauseForever, pauseUntilOrphaned } from './machine-code.js'
import { mapPages } from './memory.js'

const SIGCHLD = 17
const STACK_PAGES = 16

const pthreadCreate = declare('pthread_create', 'int', ['uintptr_t', 'uintptr_t', 'uintptr_t', 'uintptr_t'])
const cloneCall = declare('clone', 'int', ['uintptr_t', 'uintptr_t', 'int', 'uintptr_t'])

/** Starts a POSIX thread of `routine` with `argument`, and returns its pthread_t. */
export function startThread(routine: number | bigint, argument = 0): number {
  const handle = Buffer.alloc(8)
  const failure = Number(pthreadCreate(addressOf(handle), 0, routine, argument))
  if (failure !== 0) throw new Error(`pthread_create: error ${failure}`)
  return Number(handle.readBigUInt64LE())
}

/** Starts `count` threads that pause for ever. */
export function startPausedThreads(count: number): void {
  const code = loadCode(pauseForever)
  for (let index = 0; index < count; index += 1) startThread(code)
}

/**
 * A child process that pauses until this process ends; `cloneFlags` as of clone(2), without the signal.
 * With no flags it is a fork: the same memory, copied on write. It takes its parent's open files along.
 */
export function startPausedChild(cloneFlags = 0): number {
  const code = loadCode(pauseUntilOrphaned)
  const stackTop = mapPages(STACK_PAGES) + STACK_PAGES * PAGE_SIZE - 64
  return checked('clone', cloneCall(code, stackTop, cloneFlags + SIGCHLD, 0))
}

/** Thread ids of this process, ascending. */
export function ownThreads(): number[] {
  return readdirSync('/proc/self/task')
    .map(Number)
    .sort((a, b) => a - b)
}

/** State letter of a task of this process (`R`, `S`, `Z`, …), or undefined where there is none. */
export function ownTaskState(tid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/self/task/${tid}/stat`, 'latin1')
    return stat.slice(stat.lastIndexOf(')') + 2)[0]
  } catch {
    return undefined
  }
}
