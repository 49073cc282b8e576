/** The languages of the programs: where an answer ends, and what it says. */
import { describe, expect, test } from '@jest/globals'
import { HTTP } from '../../../bench/programs/http.js'
import { LINES } from '../../../bench/programs/lines.js'
import {
  firstColumn,
  messagesIn,
  postgresDialect,
  queryMessage,
  startupMessage,
} from '../../../bench/programs/postgres-wire.js'
import type { Dialect } from '../../../bench/programs/program.js'
import { RESP, respCommand } from '../../../bench/programs/resp.js'

const POSTGRES = postgresDialect('me')

/** A message of the server: type, length of itself and the content, content. */
function message(type: string, content: Buffer): Buffer {
  const head = Buffer.alloc(5)
  head.write(type)
  head.writeInt32BE(4 + content.length, 1)
  return Buffer.concat([head, content])
}

/** A row of one column. */
function row(value: string): Buffer {
  const head = Buffer.alloc(6)
  head.writeInt16BE(1, 0)
  head.writeInt32BE(value.length, 2)
  return message('D', Buffer.concat([head, Buffer.from(value)]))
}

const READY = message('Z', Buffer.from('I'))

interface Case {
  readonly name: string
  readonly dialect: Dialect
  readonly answer: Buffer
  readonly value: string
}

const CASES: readonly Case[] = [
  {
    name: 'HTTP',
    dialect: HTTP,
    answer: Buffer.from('HTTP/1.1 200 OK\r\ncontent-length: 5\r\nX: y\r\n\r\nhello'),
    value: 'hello',
  },
  { name: 'lines', dialect: LINES, answer: Buffer.from('hello\n'), value: 'hello' },
  { name: 'RESP, a string', dialect: RESP, answer: Buffer.from('$5\r\nhello\r\n'), value: 'hello' },
  {
    name: 'RESP, a string with line ends',
    dialect: RESP,
    answer: Buffer.from('$4\r\na\r\nb\r\n'),
    value: 'a\r\nb',
  },
  { name: 'RESP, nothing', dialect: RESP, answer: Buffer.from('$-1\r\n'), value: '' },
  { name: 'RESP, a state', dialect: RESP, answer: Buffer.from('+OK\r\n'), value: 'OK' },
  {
    name: 'PostgreSQL, a row',
    dialect: POSTGRES,
    answer: Buffer.concat([row('hello'), message('C', Buffer.from('SELECT 1\0')), READY]),
    value: 'hello',
  },
  {
    name: 'PostgreSQL, no row',
    dialect: POSTGRES,
    answer: Buffer.concat([message('C', Buffer.from('SELECT 0\0')), READY]),
    value: '',
  },
]

describe.each(CASES)('an answer in $name', ({ dialect, answer, value }) => {
  test('is not whole before its last byte', () => {
    for (let length = 0; length < answer.length; length++)
      expect(dialect.answerLength(answer.subarray(0, length))).toBe(0)
  })

  test('ends where the next one begins', () => {
    expect(dialect.answerLength(Buffer.concat([answer, answer]))).toBe(answer.length)
  })

  test('has its value', () => {
    expect(dialect.valueOf(answer)).toBe(value)
  })
})

describe('complaints of the server are thrown', () => {
  test.each([
    ['HTTP', HTTP, Buffer.from('HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n')],
    ['RESP', RESP, Buffer.from('-ERR no\r\n')],
    ['PostgreSQL', POSTGRES, Buffer.concat([message('E', Buffer.from('SERROR\0Mno\0\0')), READY])],
  ])('in %s', (_, dialect, answer) => {
    expect(dialect.answerLength(answer)).toBe(answer.length)
    expect(() => dialect.valueOf(answer)).toThrow()
  })
})

describe('requests', () => {
  test('RESP counts bytes, not characters', () => {
    expect(respCommand('SET', 'k', 'ä').toString()).toBe('*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$2\r\nä\r\n')
  })

  test('a startup message of PostgreSQL holds its own length and version 3.0', () => {
    const text = startupMessage('me', 'postgres')
    expect([text.readInt32BE(0), text.readInt32BE(4)]).toEqual([text.length, 196_608])
    expect(text.toString('utf8', 8)).toBe('user\0me\0database\0postgres\0\0')
  })

  test('a query is one message that ends in a zero', () => {
    expect([...messagesIn(queryMessage('select 1'))]).toEqual([['Q', Buffer.from('select 1\0'), 14]])
  })
})

describe('a column that is null', () => {
  test('has no value', () => {
    const content = Buffer.alloc(6)
    content.writeInt16BE(1, 0)
    content.writeInt32BE(-1, 2)
    expect(firstColumn(message('D', content))).toBe('')
  })
})
