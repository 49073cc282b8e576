/**
 * The victim's side of the talk with a test: one line of JSON when ready, then one line of JSON for each
 * line of command. When the test's end of stdin is closed, the test is gone and the victim dies.
 */
import { writeSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { systemCall } from './libc.js'

/** Answers one command. Words are what followed its name. */
export type Handler = (words: readonly string[]) => object | Promise<object>

const SYS_PRCTL = 157
const PR_SET_PTRACER = 0x59616d61

/** Lets any process of the same user trace this one, where Yama would allow only parents. source: Yama.rst */
export function allowTracing(): void {
  try {
    systemCall('prctl', SYS_PRCTL, PR_SET_PTRACER, -1)
  } catch {
    // A kernel without Yama refuses the request and needs none.
  }
}

/** Writes `value` as one line to stdout, all of it, without Node's streams. */
export function say(value: object): void {
  const line = Buffer.from(`${JSON.stringify(value)}\n`)
  let written = 0
  while (written < line.length) written += writeSync(1, line, written)
}

/** The answer of `handlers` to one line. A failure is an answer too: `{error}`. */
export async function answerTo(line: string, handlers: Readonly<Record<string, Handler>>): Promise<object> {
  const [name = '', ...words] = line.trim().split(/\s+/)
  const handler = handlers[name]
  if (handler === undefined) return { error: `unknown command ${name}` }
  try {
    return await handler(words)
  } catch (error) {
    return { error: String(error) }
  }
}

/** Says that the victim is ready, with `facts`, and obeys `handlers`, `ping` and `exit` until stdin ends. */
export function serve(facts: object, handlers: Readonly<Record<string, Handler>> = {}): void {
  allowTracing()
  const all: Record<string, Handler> = { ping: () => ({ pong: true }), ...handlers }
  const input = createInterface({ input: process.stdin })
  let turn = Promise.resolve()
  input.on('line', (line) => {
    turn = turn.then(async () => {
      if (line.trim() === 'exit') {
        say({ exiting: true })
        process.exit(0)
      }
      say(await answerTo(line, all))
    })
  })
  input.on('close', die)
  say({ pid: process.pid, ...facts })
}

/** Ends this process at once, whatever its threads are doing. */
export function die(): void {
  process.kill(process.pid, 'SIGKILL')
}

/** `words[index]` as a number, or `otherwise` where there is no such word. */
export function numberWord(words: readonly string[], index: number, otherwise: number): number {
  const word = words[index]
  if (word === undefined) return otherwise
  const number = Number(word)
  if (!Number.isFinite(number)) throw new Error(`not a number: ${word}`)
  return number
}
