/** RESP, the language of redis, as far as SET and GET need it. source: redis.io/docs/reference/protocol-spec */
import type { Dialect } from './program.js'

const LINE_END = '\r\n'

/** A command as an array of bulk strings. */
export function respCommand(...words: readonly string[]): Buffer {
  const parts = words.map((word) => `$${String(Buffer.byteLength(word))}${LINE_END}${word}${LINE_END}`)
  return Buffer.from(`*${String(words.length)}${LINE_END}${parts.join('')}`)
}

/** Simple strings, errors, numbers and bulk strings are understood, arrays not. */
export const RESP: Dialect = {
  put: (key, value) => respCommand('SET', key, value),
  get: (key) => respCommand('GET', key),
  answerLength: (received) => {
    const end = received.indexOf(LINE_END)
    if (end < 0) return 0
    const head = end + LINE_END.length
    const line = received.toString('latin1', 0, end)
    if (/^[+:-]/.test(line) || line === '$-1') return head
    if (!/^\$\d+$/.test(line)) throw new Error(`not understood: ${line}`)
    const whole = head + Number(line.slice(1)) + LINE_END.length
    return received.length < whole ? 0 : whole
  },
  valueOf: (answer) => {
    const [line = '', ...rest] = answer.toString('utf8').split(LINE_END)
    if (line.startsWith('-')) throw new Error(`redis: ${line}`)
    return line.startsWith('$') ? rest.slice(0, -1).join(LINE_END) : line.slice(1)
  },
}
