/**
 * The lines to and from one victim: answers come in the order of the commands.
 */
import type { ChildProcess } from 'node:child_process'
import { createInterface } from 'node:readline'
import type { Duplex, Readable, Writable } from 'node:stream'
import { type Facts, parseFacts } from './facts.js'

interface Waiter {
  readonly resolve: (facts: Facts) => void
  readonly reject: (error: Error) => void
}

/** One talk, over the pipes 0 to 3 of a child process; pipe 3 is the lifeline. */
export class LineTalk {
  readonly #input: Writable
  readonly #lifeline: Duplex
  readonly #waiters: Waiter[] = []
  readonly #unread: Facts[] = []
  #complaint = ''
  #end: Error | undefined

  constructor(child: ChildProcess, name: string) {
    const { stdin, stdout, stderr } = child
    const lifeline = child.stdio[3]
    if (stdin === null || stdout === null || stderr === null || !isDuplex(lifeline))
      throw new Error('a pipe is missing')
    this.#input = stdin
    this.#lifeline = lifeline
    stdin.on('error', ignore)
    lifeline.on('error', ignore)
    stderr.setEncoding('utf8').on('data', (text: string) => {
      this.#complaint += text
    })
    createInterface({ input: stdout }).on('line', (line) => {
      this.#arrived(line)
    })
    child.once('error', (error) => {
      this.#fail(error)
    })
    void Promise.all([ended(stdout), ended(stderr)]).then(() => {
      this.#fail(new Error(`victim ${name} has ended. ${this.#complaint}`.trim()))
    })
  }

  /** The number that the shell writes into the lifeline: the pid of what it started. */
  launchedPid(): Promise<number> {
    return new Promise((resolve, reject) => {
      this.#lifeline.once('data', (data: Buffer) => {
        resolve(Number(data.toString()))
      })
      this.#lifeline.once('close', () => {
        reject(new Error(`the shell has ended. ${this.#complaint}`))
      })
    })
  }

  /** Sends `line` and resolves with the answer. Throws an answer of the form `{error}`. */
  async request(line: string): Promise<Facts> {
    const answer = this.next()
    this.#input.write(`${line}\n`)
    const facts = await answer
    if ('error' in facts) throw new Error(String(facts.error))
    return facts
  }

  /** The next line that nobody has waited for yet. Throws when the victim has ended. */
  next(): Promise<Facts> {
    const ready = this.#unread.shift()
    if (ready !== undefined) return Promise.resolve(ready)
    if (this.#end !== undefined) return Promise.reject(this.#end)
    return new Promise((resolve, reject) => {
      this.#waiters.push({ resolve, reject })
    })
  }

  /** Closes our ends of the pipes; victim and shell take that as our death. */
  close(): void {
    this.#input.destroy()
    this.#lifeline.destroy()
  }

  #arrived(line: string): void {
    try {
      const facts = parseFacts(line)
      const waiter = this.#waiters.shift()
      if (waiter === undefined) this.#unread.push(facts)
      else waiter.resolve(facts)
    } catch {
      this.#fail(new Error(`the victim said: ${line}`))
    }
  }

  #fail(error: Error): void {
    this.#end ??= error
    for (const waiter of this.#waiters.splice(0)) waiter.reject(error)
  }
}

function ended(stream: Readable): Promise<void> {
  return new Promise((resolve) => {
    stream.once('close', () => {
      resolve()
    })
  })
}

function isDuplex(stream: unknown): stream is Duplex {
  return (
    typeof stream === 'object' &&
    stream !== null &&
    'destroy' in stream &&
    'write' in stream &&
    'once' in stream
  )
}

function ignore(): void {
  // The victim may end while we write to it; the end itself is reported where it matters.
}
