/** One connection to a program: a request, its whole answer, the next request. */
import { connect, type Socket } from 'node:net'
import type { Dialect } from './program.js'

interface Waiter {
  readonly resolve: (answer: Buffer) => void
  readonly reject: (error: Error) => void
}

/** How long an answer may take. */
const ANSWER_MS = 90_000

/** Closed with {@link Connection.close}. */
export class Connection {
  readonly #socket: Socket
  readonly #dialect: Dialect
  #received: Buffer = Buffer.alloc(0)
  #waiter: Waiter | undefined
  #end: Error | undefined

  private constructor(port: number, dialect: Dialect) {
    this.#dialect = dialect
    this.#socket = connect({ port, host: '127.0.0.1', noDelay: true })
    this.#socket.on('data', (data: Buffer) => {
      this.#arrived(data)
    })
    this.#socket.on('error', (error) => {
      this.#fail(error)
    })
    this.#socket.on('close', () => {
      this.#fail(new Error('the program has closed the connection'))
    })
    this.#socket.setTimeout(ANSWER_MS, () => {
      this.#fail(new Error(`no answer in ${String(ANSWER_MS)} ms`))
      this.#socket.destroy()
    })
  }

  /** Connects to `port` of 127.0.0.1 and says hello. Throws where nobody listens. */
  static async open(port: number, dialect: Dialect): Promise<Connection> {
    const connection = new Connection(port, dialect)
    await new Promise<void>((resolve, reject) => {
      connection.#socket.once('connect', resolve)
      connection.#socket.once('error', reject)
    })
    if (dialect.hello !== undefined) dialect.valueOf(await connection.ask(dialect.hello))
    return connection
  }

  /** The answer to `request`. One at a time. */
  async ask(request: Buffer): Promise<Buffer> {
    if (this.#end !== undefined) throw this.#end
    return await new Promise((resolve, reject) => {
      this.#waiter = { resolve, reject }
      this.#socket.write(request)
    })
  }

  close(): void {
    this.#end ??= new Error('closed')
    this.#socket.destroy()
  }

  #arrived(data: Buffer): void {
    this.#received = this.#received.length === 0 ? data : Buffer.concat([this.#received, data])
    try {
      const length = this.#dialect.answerLength(this.#received)
      if (length === 0) return
      const answer = this.#received.subarray(0, length)
      this.#received = this.#received.subarray(length)
      const waiter = this.#waiter
      this.#waiter = undefined
      waiter?.resolve(answer)
    } catch {
      this.#fail(new Error(`not understood: ${this.#received.toString('latin1', 0, 200)}`))
    }
  }

  #fail(error: Error): void {
    this.#end ??= error
    this.#waiter?.reject(this.#end)
    this.#waiter = undefined
  }
}
