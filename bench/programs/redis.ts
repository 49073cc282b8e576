/** Redis, with nothing saved by itself. */
import { fillCount, fillKey, fillValue } from './fill.js'
import type { Program } from './program.js'
import { RESP, respCommand } from './resp.js'
import { runs, startServer } from './server-process.js'

const CONNECTIONS = 4
const PAIRS_PER_REQUEST = 256

/** A redis-server of its own. */
export const REDIS: Program = {
  name: 'redis',
  dialect: RESP,
  connections: CONNECTIONS,
  missing: () =>
    runs('redis-server', '--version') ? undefined : 'there is no redis-server (apt-get install redis-server)',
  start: async ({ folder, port, mib }) => {
    const listen = ['--port', String(port), '--bind', '127.0.0.1', '--dir', folder]
    const server = startServer('redis-server', [...listen, '--save', '', '--appendonly', 'no'], {
      cwd: folder,
    })
    return {
      stop: () => server.stop('SIGTERM'),
      fill: async (ask) => {
        const count = fillCount(mib)
        for (let first = 0; first < count; first += PAIRS_PER_REQUEST) {
          const indexes = Array.from(
            { length: Math.min(PAIRS_PER_REQUEST, count - first) },
            (_, i) => first + i,
          )
          const words = indexes.flatMap((index) => [fillKey(index), fillValue(index)])
          RESP.valueOf(await ask(respCommand('MSET', ...words)))
        }
      },
      targetPid: () => server.pid,
    }
  },
}
