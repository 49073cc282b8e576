/** The load, on a program that is a few lines of this process. */
import { once } from 'node:events'
import { createServer, type AddressInfo, type Socket } from 'node:net'
import { describe, expect, test } from '@jest/globals'
import { Connection } from '../../../bench/programs/connection.js'
import { fillKey, fillValue } from '../../../bench/programs/fill.js'
import { LINES } from '../../../bench/programs/lines.js'
import { Load } from '../../../bench/programs/load.js'
import { waitUntil } from '../../support/processes.js'

const MIB = 1

/** Calls `use` with a load of two connections on a store of lines that changes each answer by `distort`. */
async function withLoad(
  distort: (answer: string) => string,
  use: (load: Load) => Promise<void>,
): Promise<void> {
  const pairs = new Map<string, string>()
  for (let index = 0; index < 1024 * MIB; index++) pairs.set(fillKey(index), fillValue(index))
  const serve = (socket: Socket): void => {
    socket.on('error', () => undefined)
    // A client sends one request at a time, and they are short: each arrives whole.
    socket.on('data', (data: Buffer) => {
      const [verb, key = '', value] = data.toString().trim().split(' ')
      if (value !== undefined) pairs.set(key, value)
      socket.write(`${distort(verb === 'get' ? (pairs.get(key) ?? '') : 'ok')}\n`)
    })
  }
  const server = createServer(serve).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = addressOf(server.address())
  const load = new Load(LINES, [await Connection.open(port, LINES), await Connection.open(port, LINES)], MIB)
  try {
    await use(load)
  } finally {
    await load.stop()
    server.close()
  }
}

function addressOf(address: AddressInfo | string | null): AddressInfo {
  if (address === null || typeof address === 'string') throw new Error('no port')
  return address
}

describe('the load', () => {
  test('asks over all connections and takes right answers', async () => {
    await withLoad(
      (answer) => answer,
      async (load) => {
        await waitUntil('40 answers', () => load.samples.latencyMs.length >= 40)
        await load.catchUp()
        load.check()
        expect(Math.min(...load.samples.latencyMs)).toBeGreaterThanOrEqual(0)
      },
    )
  })

  test('notices a wrong value', async () => {
    await withLoad(
      (answer) => answer.replace('x', 'y'),
      async (load) => {
        await expect(load.run(500)).rejects.toThrow('a wrong value of load-')
      },
    )
  })

  test('notices that data of before it is lost', async () => {
    await withLoad(
      (answer) => (/^\d+-/.test(answer) ? '' : answer),
      async (load) => {
        await expect(load.run(500)).rejects.toThrow('a wrong value of fill-')
      },
    )
  })
})
