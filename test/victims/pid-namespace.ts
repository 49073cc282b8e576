/**
 * Victim: another victim in a pid namespace of its own, by unshare(1) of util-linux. Needs root.
 *
 *   --victim NAME     the inner victim (plain); words after `--` are its arguments
 *
 * `pid` is the inner victim's pid out here, `innerPid` the one it knows itself, `unshare` the process between.
 * Commands go to the inner victim.
 */
import { spawn } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { die, say } from './session.js'

const { values, positionals } = parseArgs({
  options: { victim: { type: 'string', default: 'plain' } },
  allowPositionals: true,
})

/** The process with the pids `NSpid: OUTER INNER` whose parent is `parent`. */
function outerPid(parent: number, inner: number): number {
  for (const entry of readdirSync('/proc')) {
    if (!/^\d+$/.test(entry)) continue
    const status = statusOf(entry)
    const numbers = /^NSpid:\s+(.*)$/m.exec(status)?.[1]?.split(/\s+/).map(Number) ?? []
    if (numbers.length > 1 && numbers.at(-1) === inner && status.includes(`\nPPid:\t${parent}\n`)) {
      return Number(entry)
    }
  }
  throw new Error(`no child of ${parent} is ${inner} in its namespace`)
}

function statusOf(entry: string): string {
  try {
    return readFileSync(`/proc/${entry}/status`, 'latin1')
  } catch {
    return ''
  }
}

function numberIn(value: unknown, key: string): number {
  return typeof value === 'object' && value !== null
    ? Number(Object.entries(value).find(([name]) => name === key)?.[1])
    : NaN
}

const program = fileURLToPath(new URL(`${values.victim}.js`, import.meta.url))
const unshare = spawn(
  'unshare',
  ['--pid', '--fork', '--kill-child=KILL', process.execPath, program, ...positionals],
  { stdio: ['inherit', 'pipe', 'inherit'] },
)
unshare.once('error', (error) => {
  process.stderr.write(`${String(error)}\n`)
  process.exit(1)
})
unshare.once('exit', die)

let ready = false
createInterface({ input: unshare.stdout }).on('line', (line) => {
  const value: unknown = JSON.parse(line)
  if (typeof value !== 'object' || value === null) return
  if (ready) {
    say(value)
    return
  }
  ready = true
  const innerPid = numberIn(value, 'pid')
  const parent = unshare.pid ?? 0
  say({ ...value, pid: outerPid(parent, innerPid), innerPid, unshare: parent, launcher: process.pid })
})
