/** The load: connections that put and get by a schedule, and check every value that they get. */
import { setTimeout as sleep } from 'node:timers/promises'
import type { Connection } from './connection.js'
import { fillCount, fillKey, fillValue } from './fill.js'
import { Samples } from './latencies.js'
import type { Dialect } from './program.js'

/** Milliseconds between two requests of one connection. */
const PERIOD_MS = 4
const KEYS = 64
/** A load that is late by no more has caught up; how long it may take. */
const KEPT_UP_MS = 10
const CATCH_UP_MS = 30_000
const VALUE_LENGTH = 512
/** Every so many rounds a pair is asked that the program was filled with. */
const OLD_PAIR_ROUNDS = 8
/** Steps through these pairs; prime to their number. */
const OLD_PAIR_STRIDE = 7919

/** A running load. Ended with {@link Load.stop}. */
export class Load {
  readonly samples = new Samples()
  readonly #dialect: Dialect
  readonly #connections: readonly Connection[]
  readonly #mib: number
  readonly #loops: Promise<void>[]
  /** When each connection's next request is due. */
  readonly #due: number[]
  #stopped = false
  #failure: Error | undefined

  /** Begins to ask over `connections` a program that was filled with `mib` MiB. */
  constructor(dialect: Dialect, connections: readonly Connection[], mib: number) {
    this.#dialect = dialect
    this.#mib = mib
    this.#connections = connections
    this.#due = connections.map(() => performance.now())
    this.#loops = connections.map((connection, index) =>
      this.#loop(connection, index).catch((error: unknown) => {
        this.#failure ??= new Error(`the load: ${String(error)}`)
      }),
    )
  }

  /** Throws where any connection has failed or got a wrong value. */
  check(): void {
    if (this.#failure !== undefined) throw this.#failure
  }

  /** Lets it run for `ms`, then checks it. */
  async run(ms: number): Promise<void> {
    await sleep(ms)
    this.check()
  }

  /** Lets it run until nobody waits any more for what a dump has held up. Throws where that does not come. */
  async catchUp(): Promise<void> {
    const deadline = performance.now() + CATCH_UP_MS
    while (Math.min(...this.#due) < performance.now() - KEPT_UP_MS) {
      if (performance.now() > deadline) throw new Error('the program does not keep up with the load')
      await this.run(PERIOD_MS)
    }
    this.check()
  }

  /** Ends it and closes the connections. */
  async stop(): Promise<void> {
    this.#stopped = true
    await Promise.race([Promise.all(this.#loops), sleep(1000, undefined, { ref: false })])
    for (const connection of this.#connections) connection.close()
    await Promise.all(this.#loops)
  }

  async #loop(connection: Connection, index: number): Promise<void> {
    const values = new Map<string, string>()
    for (let round = 0; !this.#stopped; round++) {
      const begun = await whenDue(this.#due[index] ?? 0)
      const key = `load-${String(index)}-${String((round >> 1) % KEYS)}`
      if (round % OLD_PAIR_ROUNDS === OLD_PAIR_ROUNDS - 1) {
        const pair = (round * OLD_PAIR_STRIDE) % fillCount(this.#mib)
        await this.#expect(connection, fillKey(pair), fillValue(pair))
      } else if (round % 2 === 0) {
        values.set(key, valueFor(key, round))
        this.#dialect.valueOf(await connection.ask(this.#dialect.put(key, valueFor(key, round))))
      } else {
        await this.#expect(connection, key, values.get(key) ?? '')
      }
      this.samples.add(begun, performance.now())
      this.#due[index] = begun + PERIOD_MS
    }
  }

  async #expect(connection: Connection, key: string, value: string): Promise<void> {
    const got = this.#dialect.valueOf(await connection.ask(this.#dialect.get(key)))
    if (got === value) return
    throw new Error(`a wrong value of ${key}: ${got.slice(0, 80)}, not ${value.slice(0, 80)}`)
  }
}

/** Waits until `due`; the time from which the request counts: it is not the program's fault that a timer is late. */
async function whenDue(due: number): Promise<number> {
  const early = due - performance.now()
  if (early <= 0) return due
  await sleep(early)
  return performance.now()
}

function valueFor(key: string, round: number): string {
  return `${key}-${String(round)}-`.padEnd(VALUE_LENGTH, 'x')
}
