/** One dump by the built command, as a process of its own, and the figures that it tells of itself. */
import { isFacts, numberFact, parseFacts, stringFact, type Facts } from '../test/support/facts.js'
import { runTool } from '../test/support/tool.js'

/** Steps of the frozen window, in their order. */
export const STEPS = [
  'seize',
  'checks',
  'maps',
  'fork',
  'prepare',
  'scan',
  'plan',
  'capture',
  'reset',
  'thaw',
] as const

/** One of {@link STEPS}. */
export type Step = (typeof STEPS)[number]

/** Microseconds of each step. */
export type StepTimes = Readonly<Record<Step, number>>

/** What one dump told. Times in microseconds. */
export interface DumpRun {
  readonly frozen: StepTimes
  readonly frozenUs: number
  readonly totalUs: number
  readonly pagesStored: number
  readonly bytesStored: number
  readonly runs: number
  /** How memory was captured, whatever was asked for: `copy` or `fork`. */
  readonly method: string
  /** Why so. */
  readonly methodBecause: string
  /** What watches the target from now on; empty where nothing does. */
  readonly tracker: string
  /** Why the dump is full though a parent was given; empty where it is not. */
  readonly fullBecause: string
}

/** How memory can be captured, by the option of that name. */
export const CAPTURES = ['copy', 'fork'] as const

/** One of {@link CAPTURES}. */
export type Capture = (typeof CAPTURES)[number]

const RUN_MS = 120_000
const MAX_FROZEN_SECONDS = 60

/**
 * Dumps `pid` into `folder`, unsynced, and resolves with its figures. Throws with its stderr where the command fails.
 *
 * @param args - more options of `tidemark dump`
 */
export async function runDump(pid: number, folder: string, args: readonly string[]): Promise<DumpRun> {
  const fixed = ['--json', '--no-sync', '--max-frozen', String(MAX_FROZEN_SECONDS)]
  const command = ['dump', '-t', String(pid), '-D', folder, ...fixed, ...args]
  const { status, stdout, stderr } = await runTool(command, { timeoutMs: RUN_MS })
  if (status !== 0) throw new Error(`tidemark ${command.join(' ')} ended with ${String(status)}: ${stderr}`)
  return readDumpRun(stdout)
}

/** The figures in what `tidemark dump --json` prints. Throws where they are not there. */
export function readDumpRun(stdout: string): DumpRun {
  const result = parseFacts(stdout)
  const frozen = factsOf(result, 'frozen')
  const wall = factsOf(result, 'wall')
  const time = (step: Step): number => numberFact(frozen, `${step}Us`)
  return {
    frozen: {
      seize: time('seize'),
      checks: time('checks'),
      maps: time('maps'),
      fork: time('fork'),
      prepare: time('prepare'),
      scan: time('scan'),
      plan: time('plan'),
      capture: time('capture'),
      reset: time('reset'),
      thaw: time('thaw'),
    },
    frozenUs: numberFact(wall, 'frozenUs'),
    totalUs: numberFact(wall, 'totalUs'),
    pagesStored: numberFact(result, 'pagesStored'),
    bytesStored: numberFact(result, 'bytesStored'),
    runs: numberFact(result, 'runs'),
    method: stringFact(factsOf(result, 'capture'), 'method'),
    methodBecause: stringFact(factsOf(result, 'capture'), 'why'),
    tracker: isFacts(result.tracker) ? String(result.tracker.name) : '',
    fullBecause: typeof result.fullBecause === 'string' ? result.fullBecause : '',
  }
}

function factsOf(facts: Facts, key: string): Facts {
  const value = facts[key]
  if (!isFacts(value)) throw new Error(`no object ${key} in the result of the dump`)
  return value
}
