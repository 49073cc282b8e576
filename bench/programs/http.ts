/** HTTP/1.1 as far as the key server speaks it: keep-alive, and answers with a Content-Length. */
import type { Dialect } from './program.js'

const HEAD_END = '\r\n\r\n'

function request(path: string): Buffer {
  return Buffer.from(`GET ${path} HTTP/1.1\r\nHost: localhost${HEAD_END}`)
}

function headOf(received: Buffer): string | undefined {
  const end = received.indexOf(HEAD_END)
  return end < 0 ? undefined : received.toString('latin1', 0, end)
}

/** HTTP, keys and values in the path. */
export const HTTP: Dialect = {
  put: (key, value) => request(`/put/${key}/${value}`),
  get: (key) => request(`/get/${key}`),
  answerLength: (received) => {
    const head = headOf(received)
    if (head === undefined) return 0
    const length = /^content-length: *(\d+)$/im.exec(head)?.[1]
    if (length === undefined) throw new Error(`an answer without a length: ${head}`)
    const whole = head.length + HEAD_END.length + Number(length)
    return received.length < whole ? 0 : whole
  },
  valueOf: (answer) => {
    const head = headOf(answer) ?? ''
    if (!head.startsWith('HTTP/1.1 200')) throw new Error(`the server answered ${head}`)
    return answer.toString('utf8', head.length + HEAD_END.length)
  },
}
