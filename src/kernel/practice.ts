/**
 * Practice for the thread that holds the target: it forks a process of its own once, since what is run for the first time
 * takes ten times as long, and then the target would stand for that.
 */
import { spawn } from 'node:child_process'
import { endFork, ForkMaker } from './fork.js'
import { SeizedProcess } from './seize.js'

/** In which it has to be over. */
const PRACTICE_MS = 100
/** It ends by itself should we be killed. */
const LIFETIME_S = 5

/** Does it; where it cannot be done nothing is lost but time. */
export function practise(): void {
  const child = spawn('sleep', [String(LIFETIME_S)], { stdio: 'ignore' })
  child.on('error', () => undefined)
  child.unref()
  if (child.pid === undefined) return
  const held = new SeizedProcess(child.pid)
  try {
    held.stopAll(performance.now() + PRACTICE_MS)
    const { threads, traced } = held
    const deadline = performance.now() + PRACTICE_MS
    endFork(new ForkMaker({ pid: child.pid, threads, traced }, { deadline }).make().pid)
  } catch {
    // Not here; the target will tell.
  } finally {
    held.release()
    // The loop of this thread does not turn any more: nobody else waits for it.
    endFork(child.pid)
  }
}
