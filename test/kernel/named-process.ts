/**
 * A victim that calls itself what it likes, and may hide from who has no right to trace it.
 *
 *   --comm NAME     name of the main thread (15 bytes at most)
 *   --undumpable    prctl(PR_SET_DUMPABLE, 0)
 *
 * Facts: `ppid`, `auxRandom`, the bytes at AT_RANDOM in hex, and `start`, `pages` of 16 filled pages.
 */
import { readFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { addressOf, copyOut, systemCall } from '../victims/libc.js'
import { fill, hex, mapPages } from '../victims/memory.js'
import { serve } from '../victims/session.js'

const SYS_PRCTL = 157
const PR_SET_DUMPABLE = 4
const PR_SET_NAME = 15
const AT_RANDOM = 25n

const { values } = parseArgs({
  options: { comm: { type: 'string' }, undumpable: { type: 'boolean', default: false } },
})

function ownAuxRandom(): string {
  const auxv = readFileSync('/proc/self/auxv')
  for (let at = 0; at < auxv.length; at += 16) {
    if (auxv.readBigUInt64LE(at) !== AT_RANDOM) continue
    const bytes = Buffer.alloc(16)
    copyOut(bytes, Number(auxv.readBigUInt64LE(at + 8)), 16)
    return bytes.toString('hex')
  }
  return ''
}

const start = mapPages(16)
fill(start, 16, 1)
const facts = { ppid: process.ppid, auxRandom: ownAuxRandom(), start: hex(start), pages: 16 }
if (values.comm !== undefined) {
  const name = Buffer.from(`${values.comm}\0`)
  systemCall('prctl', SYS_PRCTL, PR_SET_NAME, addressOf(name), 0, 0, 0)
}
if (values.undumpable) systemCall('prctl', SYS_PRCTL, PR_SET_DUMPABLE, 0, 0, 0, 0)
serve(facts)
