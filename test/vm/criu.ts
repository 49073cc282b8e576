/**
 * CRIU itself, as the tests in the virtual machine use it on lone victims: dump, restore, and what stats-dump says.
 */
import { spawnSync } from 'node:child_process'
import { copyFileSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { type Facts, isFacts, objectsFact, parseFacts } from '../support/facts.js'
import { resume } from '../support/processes.js'
import { startCommand } from '../support/tool.js'

const TIMEOUT_MS = 300_000
const LOG_TAIL_BYTES = 4000

/** What crit does, for many images at the start of one Python, which in emulation takes many seconds. */
const CRIT_DECODE = `
import sys
from pycriu import cli
paths = sys.argv[1:]
for path in paths:
    sys.argv = ['crit', 'decode', '-i', path]
    cli.main()
    print(flush=True)
`

/** Why CRIU cannot dump and restore here, or undefined where it can. */
export function criuObstacle(): string | undefined {
  // On a machine in use nobody wants processes that a test restored under numbers of its choice.
  if (process.env.RUN_IN_VM === undefined) return 'only in the virtual machine of npm run test:vm'
  const check = spawnSync('criu', ['check'], { encoding: 'utf8' })
  if (check.error !== undefined) return 'criu is not installed (Debian package criu)'
  return check.status === 0 ? undefined : `criu check fails: ${check.stderr}`
}

/** Runs `criu COMMAND -D directory ARGS`. Throws with the end of its log where it fails. */
export async function criu(command: string, directory: string, args: readonly string[]): Promise<void> {
  const log = `${command}.log`
  const words = [command, '-D', directory, '-v4', '-o', log, ...args]
  const { status, signal, stderr } = await startCommand('criu', words, { timeoutMs: TIMEOUT_MS }).finished
  if (status === 0) return
  const tail = readFileSync(join(directory, log), 'latin1').slice(-LOG_TAIL_BYTES)
  throw new Error(`criu ${words.join(' ')} ended with ${String(status ?? signal)}: ${stderr}\n${tail}`)
}

/** The dump statistics in `directory`, of CRIU's or Tidemark's making, as crit decodes them, e.g. `pages_written`. */
export async function criuStats(directory: string): Promise<Facts> {
  const [[entry] = []] = await critEntries([join(directory, 'stats-dump')])
  const dump = entry?.dump
  if (!isFacts(dump)) throw new Error(`no statistics of a dump in ${directory}`)
  return dump
}

/** The messages of each of the images at `paths`, as `crit decode` puts them. */
export async function critEntries(paths: readonly string[]): Promise<readonly (readonly Facts[])[]> {
  const { status, stdout, stderr } = await startCommand('/usr/bin/python3', ['-c', CRIT_DECODE, ...paths], {
    timeoutMs: TIMEOUT_MS,
  }).finished
  if (status !== 0) throw new Error(`crit decode ${paths.join(' ')} ended with ${String(status)}: ${stderr}`)
  const lines = stdout.split('\n').filter((line) => line !== '')
  if (lines.length !== paths.length) throw new Error(`crit decode said ${lines.length} times: ${stdout}`)
  return lines.map((line) => objectsFact(parseFacts(line), 'entries'))
}

/** Paths of the images in `directory`, its own and not its parents', that crit can decode. */
export function decodableImages(directory: string): string[] {
  return readdirSync(directory)
    .filter((name) => !/^pages-|^tidemark\.json$|^parent$/.test(name))
    .map((name) => join(directory, name))
}

/** Puts the pagemap and the pages of process `pid` in `from` in the place of those in `to`. */
export function replacePages(pid: number, from: string, to: string): void {
  for (const name of [`pagemap-${String(pid)}.img`, 'pages-1.img'])
    copyFileSync(join(from, name), join(to, name))
}

/** Restores the process `pid`, which was stopped, from the images in `directory`, and lets it run on. */
export async function restore(directory: string, pid: number): Promise<void> {
  await criu('restore', directory, ['--restore-detached'])
  await resume(pid)
}
