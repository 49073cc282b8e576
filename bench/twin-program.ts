/** Compiles and runs bench/twin.c. */
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { numberFact, parseFacts } from '../test/support/facts.js'
import { resume, suspend } from '../test/support/processes.js'
import { formatWork, surveyForTwin } from './twin-work.js'

const SOURCE = fileURLToPath(new URL('../../bench/twin.c', import.meta.url))
const RUN_MS = 120_000

/** What one run of the twin took. Times in microseconds. */
export interface TwinRun {
  readonly scanUs: number
  readonly planUs: number
  readonly captureUs: number
  readonly pages: number
  readonly runs: number
}

/** Whether there is a C compiler. */
export function hasCompiler(): boolean {
  return spawnSync('gcc', ['--version']).status === 0
}

/** Compiles the twin into `folder`; returns the program's path. Throws with the compiler's complaint. */
export function compileTwin(folder: string): string {
  const program = join(folder, 'twin')
  const compiled = spawnSync('gcc', ['-O2', '-pthread', '-o', program, SOURCE], { encoding: 'utf8' })
  if (compiled.status !== 0) throw new Error(`gcc: ${compiled.stderr}`)
  return program
}

/** Runs the twin once on `pid`, which is stopped for as long as the twin measures. */
export async function runTwin(program: string, pid: number, threads: number): Promise<TwinRun> {
  const child = spawn(program, { stdio: ['pipe', 'pipe', 'inherit'] })
  const timer = setTimeout(() => child.kill('SIGKILL'), RUN_MS)
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  const nextLine = async (): Promise<string> => {
    const next = await lines.next()
    if (next.done === true) throw new Error('the twin has ended early')
    return next.value
  }
  // Where it ends early, its output tells.
  child.stdin.on('error', () => undefined)
  try {
    child.stdin.write(formatWork(surveyForTwin(pid, threads)))
    await nextLine()
    await suspend(pid)
    child.stdin.write('go\n')
    return readTwinRun(await nextLine())
  } finally {
    clearTimeout(timer)
    child.kill('SIGKILL')
    if (child.exitCode === null && child.signalCode === null) await once(child, 'close')
    await resume(pid)
  }
}

/** The figures in the line that the twin prints. Throws where it missed memory. */
export function readTwinRun(line: string): TwinRun {
  const facts = parseFacts(line)
  if (numberFact(facts, 'slotless') > 0) throw new Error('the target has grown between survey and scan')
  return {
    scanUs: numberFact(facts, 'scanUs'),
    planUs: numberFact(facts, 'planUs'),
    captureUs: numberFact(facts, 'captureUs'),
    pages: numberFact(facts, 'pages'),
    runs: numberFact(facts, 'runs'),
  }
}
