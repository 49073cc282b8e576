/**
 * A program that runs system calls inside a process, and may kill itself at any step of that. Prints JSON.
 *
 *   open PID [OPTIONS]    opens a userfaultfd: its number and the steps taken; may close it again
 *   loop PID [OPTIONS]    says so, then opens and closes one again and again, until killed
 */
import { codeOf, isTidemarkError, messageOf } from '../../src/errors.js'
import type { InjectionStep } from '../../src/kernel/injection.js'
import { closeDescriptor, openUserfaultfd } from '../../src/kernel/remote-descriptors.js'
import { SeizedProcess } from '../../src/kernel/seize.js'
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

function loop(): never {
  process.stdout.write('{"ready":true}\n')
  for (;;) {
    const target = stopAll()
    const threads = allowed(target)
    const tid = threads[Math.floor(Math.random() * threads.length)] ?? pid
    const held = { pid, threads: [tid], traced: [tid] }
    try {
      closeDescriptor(held, openUserfaultfd(held, { onMainStack }), { onMainStack })
    } catch (error) {
      if (codeOf(error) !== 'INJECTION_REFUSED') throw error
    }
    target.release()
  }
}

function run(): object {
  try {
    return command === 'loop' ? loop() : open()
  } catch (error) {
    const details = isTidemarkError(error) ? error.details : {}
    return { code: codeOf(error), message: messageOf(error), details, steps }
  }
}

process.stdout.write(`${JSON.stringify(run())}\n`)
