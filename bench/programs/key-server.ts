/** A store of keys and values over HTTP: `node key-server.js PORT MIB`. Says "ready" when it is filled and listens. */
import { createServer } from 'node:http'
import { fillCount, fillKey, fillValue } from './fill.js'

const [, , port = '0', mib = '0'] = process.argv
const CHURN_MS = 10
const CHURNED_PAIRS = 100

const pairs = new Map<string, string>()
const count = fillCount(Number(mib))
for (let index = 0; index < count; index++) pairs.set(fillKey(index), fillValue(index))

/** Writes some pairs anew, as a program does that works on its data. */
let next = 0
setInterval(() => {
  for (let pair = 0; pair < CHURNED_PAIRS && count > 0; pair++) {
    next = (next + 1) % count
    pairs.set(fillKey(next), fillValue(next))
  }
}, CHURN_MS)

createServer((request, response) => {
  const [, verb, key = '', value] = (request.url ?? '').split('/')
  if (verb === 'put' && value !== undefined) pairs.set(key, value)
  const text = verb === 'get' ? (pairs.get(key) ?? '') : 'ok'
  response.writeHead(200, { 'Content-Length': Buffer.byteLength(text) })
  response.end(text)
}).listen(Number(port), '127.0.0.1', () => {
  console.log('ready')
})
