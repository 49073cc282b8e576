/** The language of the key servers in Python and Java: a line for a request, a line for its answer. */
import type { Dialect } from './program.js'

/** `put KEY VALUE` is answered by `ok`, `get KEY` by the value. */
export const LINES: Dialect = {
  put: (key, value) => Buffer.from(`put ${key} ${value}\n`),
  get: (key) => Buffer.from(`get ${key}\n`),
  answerLength: (received) => received.indexOf('\n') + 1,
  valueOf: (answer) => answer.toString('utf8').trimEnd(),
}
