/**
 * The worker of the `zombie-leader` victim, which talks to the test when the main thread is no more.
 */
import { readSync } from 'node:fs'
import { parentPort, workerData } from 'node:worker_threads'
import { ownTaskState, ownThreads } from './processes.js'
import { answerTo, die, say } from './session.js'

const facts: unknown = JSON.parse(String(workerData))
const pause = new Int32Array(new SharedArrayBuffer(4))

/** Returns what stands before the next line feed of stdin, or undefined at its end. */
function nextLine(): string | undefined {
  const byte = Buffer.alloc(1)
  let line = ''
  for (;;) {
    if (readSync(0, byte, 0, 1, null) === 0) return undefined
    if (byte.toString() === '\n') return line
    line += byte.toString()
  }
}

parentPort?.postMessage('ready')
while (ownTaskState(process.pid) !== 'Z') Atomics.wait(pause, 0, 0, 1)
say({ pid: process.pid, tids: ownThreads(), ...(typeof facts === 'object' ? facts : {}) })

for (let line = nextLine(); line !== undefined && line !== 'exit'; line = nextLine()) {
  say(await answerTo(line, { ping: () => ({ pong: true }), tids: () => ({ tids: ownThreads() }) }))
}
die()
