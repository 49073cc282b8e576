/** Programs of our own in three languages, each with the runtime that users have: Node, Python, a JVM. */
import { fileURLToPath } from 'node:url'
import { HTTP } from './http.js'
import { LINES } from './lines.js'
import type { Dialect, Program } from './program.js'
import { runs, startServer } from './server-process.js'

const CONNECTIONS = 4
/** Heap of the JVM for each MiB of data, and the least, in MiB. */
const HEAP_FACTOR = 4
const LEAST_HEAP_MIB = 256

const sourceOf = (name: string): string =>
  fileURLToPath(new URL(`../../../bench/programs/${name}`, import.meta.url))

function keyServer(
  name: string,
  dialect: Dialect,
  missing: () => string | undefined,
  command: (mib: number) => readonly [file: string, ...args: string[]],
): Program {
  return {
    name,
    dialect,
    connections: CONNECTIONS,
    missing,
    start: async ({ port, mib, folder }) => {
      const [file, ...args] = command(mib)
      const server = startServer(file, [...args, String(port), String(mib)], { cwd: folder })
      return {
        stop: () => server.stop('SIGKILL'),
        fill: async () => {
          await server.said(/ready/)
        },
        targetPid: () => server.pid,
      }
    },
  }
}

/** A Node server of HTTP. */
export const NODE = keyServer(
  'node http',
  HTTP,
  () => undefined,
  () => [process.execPath, fileURLToPath(new URL('key-server.js', import.meta.url))],
)

/** Python with asyncio. */
export const PYTHON = keyServer(
  'python',
  LINES,
  () => (runs('python3', '--version') ? undefined : 'there is no python3 (apt-get install python3)'),
  () => ['python3', sourceOf('key-server.py')],
)

/** A JVM, a thread for each connection. */
export const JVM = keyServer(
  'jvm',
  LINES,
  () =>
    runs('java', '--describe-module', 'jdk.compiler')
      ? undefined
      : 'there is no java with a compiler (apt-get install default-jdk-headless)',
  (mib) => [
    'java',
    `-Xmx${String(Math.max(LEAST_HEAP_MIB, HEAP_FACTOR * mib))}m`,
    sourceOf('key-server.java'),
  ],
)
