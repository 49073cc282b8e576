/**
 * A program that runs system calls inside a process, and may kill itself at any step of that. Prints JSON.
 *
 *   open PID [OPTIONS]    opens a userfaultfd: its number and the steps taken; may close it again
 *   loop PID [OPTIONS]    says so, then opens and closes one again and again, until killed
 *   fork PID [OPTIONS]    forks it: what the fork is like, and how many pages of it differ from the target
 *   forks PID [OPTIONS]   says so, then forks it again and again, until killed
 *   reap PID [OPTIONS]    has it wait for what runs that were killed have left
 */
import { openSync, readdirSync, readFileSync, readSync } from 'node:fs'
import { codeOf, isTidemarkError, messageOf } from '../../src/errors.js'
import type { InjectionStep } from '../../src/kernel/borrowed-thread.js'
import {
  endFork,
  findLeftChildren,
  ForkMaker,
  isWhole,
  type MadeFork,
  reapChildren,
} from '../../src/kernel/fork.js'
import { closeDescriptor, openUserfaultfd } from '../../src/kernel/remote-descriptors.js'
import { SeizedProcess } from '../../src/kernel/seize.js'
import type { HeldThreads } from '../../src/kernel/thread-choice.js'
import { readVmas } from '../support/kernel-vmas.js'
import { numbersFact, parseFacts, stringFact } from '../support/facts.js'

/** What the program is to do; nothing of it unless said. */
export interface InjectorOptions {
  /** The number of the step, from 1, at which it kills itself. */
  readonly killAt?: number
  /** Closes the descriptor again. */
  readonly close?: boolean
  /** The only threads to choose from; a loop takes a random one each time. */
  readonly threads?: readonly number[]
  readonly onMainStack?: boolean
  /** The signal that the target is sent at the step with this number. */
  readonly signalAt?: number
  readonly signal?: NodeJS.Signals
}

const [command = '', pidWord = '', optionsWord = '{}'] = process.argv.slice(2)
const pid = Number(pidWord)
const options = parseFacts(optionsWord)
const onMainStack = options.onMainStack === true
const steps: InjectionStep[] = []
const PAGE = 4096
/** Flags of VMAs that a fork does not hold: DONTFORK, WIPEONFORK, hugetlb. V8 wants its heap kept from children. */
const NOT_FORKED = ['dc', 'wf', 'ht']

function onStep(step: InjectionStep): void {
  steps.push(step)
  if (steps.length === options.killAt) process.kill(process.pid, 'SIGKILL')
  if (steps.length === options.signalAt) process.kill(pid, stringFact(options, 'signal'))
}

function stopAll(): SeizedProcess {
  const target = new SeizedProcess(pid)
  target.stopAll(performance.now() + 10_000)
  return target
}

function allowed(target: SeizedProcess): readonly number[] {
  return 'threads' in options ? numbersFact(options, 'threads') : target.traced
}

function open(): object {
  const target = stopAll()
  const threads = allowed(target)
  const held = { pid, threads, traced: threads }
  try {
    const begun = performance.now()
    const fd = openUserfaultfd(held, { onStep, onMainStack })
    const ms = performance.now() - begun
    if (options.close === true) closeDescriptor(held, fd, { onStep, onMainStack })
    return { fd, steps, ms }
  } finally {
    target.release()
  }
}

/** Says so, then does `work` to the held target, through a random thread, again and again. */
function loop(work: (held: HeldThreads) => void): never {
  process.stdout.write('{"ready":true}\n')
  for (;;) {
    const target = stopAll()
    const threads = allowed(target)
    const tid = threads[Math.floor(Math.random() * threads.length)] ?? pid
    try {
      work({ pid, threads: [tid], traced: [tid] })
    } catch (error) {
      if (codeOf(error) !== 'INJECTION_REFUSED') throw error
    }
    target.release()
  }
}

function openAndClose(held: HeldThreads): void {
  closeDescriptor(held, openUserfaultfd(held, { onMainStack }), { onMainStack })
}

function forkAndEnd(held: HeldThreads): void {
  endFork(new ForkMaker(held, { onMainStack }).make().pid)
}

function fork(): object {
  const target = stopAll()
  const threads = allowed(target)
  try {
    const made = new ForkMaker({ pid, threads, traced: threads }, { onStep, onMainStack }).make()
    const facts = { ...forkFacts(made.pid), differing: differingPages(made), whole: isWhole(made.pid) }
    target.release()
    endFork(made.pid)
    return { steps, ...facts, wholeAfter: isWhole(made.pid) }
  } finally {
    target.release()
  }
}

/** What /proc tells of a fork. */
function forkFacts(fork: number): object {
  const folder = `/proc/${String(fork)}`
  return {
    fork,
    parent: Number(/^PPid:\s+(\d+)/m.exec(readFileSync(`${folder}/status`, 'latin1'))?.[1]),
    descriptors: readdirSync(`${folder}/fd`).length,
    oomScoreAdj: Number(readFileSync(`${folder}/oom_score_adj`, 'latin1')),
  }
}

/** Pages of readable private memory that the fork and the standing target do not hold alike, but for the spoiled ones. */
function differingPages({ pid: forked, spoiled }: MadeFork): string[] {
  const isSpoiled = (page: number): boolean =>
    spoiled.some(({ start, end }) => page * PAGE < end && (page + 1) * PAGE > start)
  const [ours, theirs] = [pid, forked].map((process) => openSync(`/proc/${String(process)}/mem`, 'r'))
  const [a, b] = [Buffer.alloc(PAGE), Buffer.alloc(PAGE)]
  const differing: string[] = []
  for (const { startPage, endPage, flags, shared, path } of readVmas(pid)) {
    if (!flags.has('rd') || shared || path.startsWith('[v') || NOT_FORKED.some((flag) => flags.has(flag)))
      continue
    for (let page = startPage; page < endPage; page += 1) {
      const readable = [readPage(ours, a, page), readPage(theirs, b, page)]
      if (isSpoiled(page) || (readable[0] === readable[1] && a.equals(b))) continue
      differing.push(`0x${(page * PAGE).toString(16)}`)
    }
  }
  return differing
}

/** False, and zeros, where it cannot be read, as a guard page. */
function readPage(fd: number | undefined, into: Buffer, page: number): boolean {
  try {
    return readSync(fd ?? -1, into, 0, PAGE, page * PAGE) === PAGE
  } catch {
    into.fill(0)
    return false
  }
}

function reap(): object {
  const children = findLeftChildren(pid)
  const target = stopAll()
  try {
    reapChildren({ pid, threads: target.threads, traced: target.traced }, children)
  } finally {
    target.release()
  }
  return { children }
}

const COMMANDS: Readonly<Record<string, () => object>> = {
  open,
  loop: () => loop(openAndClose),
  fork,
  forks: () => loop(forkAndEnd),
  reap,
}

/** What passes: the only thread that has room for a frame is on its alternate stack just now, or sleeps anew. */
const PASSING = 'no place for a frame'

/** Tries again where it is refused for a reason that passes. */
function run(tries = 100): object {
  try {
    return COMMANDS[command]?.() ?? {}
  } catch (error) {
    if (tries > 0 && steps.length === 0 && messageOf(error).includes(PASSING)) return run(tries - 1)
    const details = isTidemarkError(error) ? error.details : {}
    return { code: codeOf(error), message: messageOf(error), details, steps }
  }
}

process.stdout.write(`${JSON.stringify(run())}\n`)
