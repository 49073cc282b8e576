/**
 * Starts test/victims/self-checking.c, which checks all the time that its threads are what they should be.
 */
import { spawnSync } from 'node:child_process'
import { chmodSync, closeSync, ftruncateSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect } from '@jest/globals'
import { numberFact, numbersFact, parseFacts } from './facts.js'
import { waitUntil } from './processes.js'
import { withShell } from './shell.js'

/** Whether there is a C compiler. */
export const hasCompiler = spawnSync('gcc', ['--version']).status === 0

const SOURCE = fileURLToPath(new URL('../../../test/victims/self-checking.c', import.meta.url))
const THREADS = 8
const PAGE_BYTES = 4096
/** In the shared page, after the rounds: errors, signals, text. */
const ERRORS_AT = 8 * THREADS
const SIGNALS_AT = ERRORS_AT + 8
const TEXT_AT = SIGNALS_AT + 8

/** Which program, and who runs it. */
export interface SelfCheckingOptions {
  /** See the source; threads of eight kinds unless said. */
  readonly mode?: 'errno' | 'kill' | 'no-vdso' | 'rseq' | 'one'
  readonly isStatic?: boolean
  readonly uid?: number
}

/** A running process that checks itself. */
export interface SelfChecking {
  readonly pid: number
  /** All its threads. */
  readonly tids: readonly number[]
  /** SIGUSR2 that have reached it. */
  readonly signals: () => number
  /** Fails where any check of its has failed; resolves when each thread has made some more rounds. */
  readonly expectRight: () => Promise<void>
}

/** Runs `use` with the process; it ends afterwards, whatever happens. Every mode but the first two has one thread. */
export async function withSelfChecking<Result>(
  { mode, isStatic = false, uid }: SelfCheckingOptions,
  use: (victim: SelfChecking) => Promise<Result>,
): Promise<Result> {
  const directory = mkdtempSync(join(tmpdir(), 'self-checking-'))
  try {
    const program = join(directory, 'program')
    const flags = ['-O1', '-pthread', '-w', ...(isStatic ? ['-static'] : [])]
    const compiled = spawnSync('gcc', [...flags, '-o', program, SOURCE], { encoding: 'utf8' })
    if (compiled.status !== 0) throw new Error(compiled.stderr)
    const file = join(directory, 'page')
    const fd = openSync(file, 'w+')
    ftruncateSync(fd, PAGE_BYTES)
    closeSync(fd)
    for (const path of [directory, file, program]) chmodSync(path, 0o777)
    const script = `'${program}' '${file}' ${mode ?? ''} & wait`
    return await withShell(script, (line) => use(talk(line, file, mode)), uid === undefined ? {} : { uid })
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
}

function talk(firstLine: string, file: string, mode: SelfCheckingOptions['mode']): SelfChecking {
  const facts = parseFacts(firstLine)
  const counted = mode === 'no-vdso' || mode === 'rseq' ? 1 : THREADS
  const page = (): Buffer => readFileSync(file)
  const rounds = (): bigint[] =>
    Array.from({ length: counted }, (_, index) => page().readBigUInt64LE(8 * index))
  return {
    pid: numberFact(facts, 'pid'),
    tids: numbersFact(facts, 'tids'),
    signals: () => Number(page().readBigUInt64LE(SIGNALS_AT)),
    expectRight: async () => {
      const before = rounds()
      await waitUntil('all threads to go on', () =>
        rounds().every((count, index) => count > (before[index] ?? 0n) + 2n),
      )
      const text = page().toString('latin1', TEXT_AT)
      expect([page().readBigUInt64LE(ERRORS_AT), text.slice(0, text.indexOf('\0'))]).toEqual([0n, ''])
    },
  }
}
