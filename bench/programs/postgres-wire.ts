/**
 * The language of PostgreSQL, version 3, as far as simple queries without a password need it.
 *
 *   answer   |type|length of itself and what follows, 4 bytes, big-endian|...|   more messages, up to 'Z', ready
 *
 * source: postgresql.org/docs/15/protocol-message-formats.html
 */
import type { Dialect } from './program.js'

const VERSION = 3 << 16
const HEADER = 5

/** The table that the load works on. Private memory of the session's own process, as temporary tables are. */
export const TABLE = 'pairs'

/** What a client says first. */
export function startupMessage(user: string, database: string): Buffer {
  const text = Buffer.from(`user\0${user}\0database\0${database}\0\0`)
  const head = Buffer.alloc(8)
  head.writeInt32BE(head.length + text.length, 0)
  head.writeInt32BE(VERSION, 4)
  return Buffer.concat([head, text])
}

/** A simple query. */
export function queryMessage(sql: string): Buffer {
  const text = Buffer.from(`${sql}\0`)
  const head = Buffer.alloc(HEADER)
  head.write('Q')
  head.writeInt32BE(4 + text.length, 1)
  return Buffer.concat([head, text])
}

/** Type and content of each whole message in `received`, in order. */
export function* messagesIn(
  received: Buffer,
): Generator<readonly [type: string, content: Buffer, end: number]> {
  for (let at = 0; at + HEADER <= received.length;) {
    const end = at + 1 + received.readInt32BE(at + 1)
    if (end > received.length) return
    yield [received.toString('latin1', at, at + 1), received.subarray(at + HEADER, end), end]
    at = end
  }
}

/** The first column of the first row in `answer`, empty where there is no row. Throws what the server complains of. */
export function firstColumn(answer: Buffer): string {
  for (const [type, content] of messagesIn(answer)) {
    if (type === 'E') throw new Error(`postgres: ${content.toString('utf8').replaceAll('\0', ' ')}`)
    if (type !== 'D') continue
    const length = content.readInt32BE(2)
    return length < 0 ? '' : content.toString('utf8', 6, 6 + length)
  }
  return ''
}

/** Upserts and selects on {@link TABLE}. */
export function postgresDialect(user: string): Dialect {
  return {
    hello: startupMessage(user, 'postgres'),
    put: (key, value) =>
      queryMessage(
        `insert into ${TABLE} values ('${key}', '${value}') on conflict (key) do update set value = excluded.value`,
      ),
    get: (key) => queryMessage(`select value from ${TABLE} where key = '${key}'`),
    answerLength: (received) => {
      for (const [type, , end] of messagesIn(received)) if (type === 'Z') return end
      return 0
    },
    valueOf: firstColumn,
  }
}
