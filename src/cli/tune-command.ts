/** `tidemark tune`: which settings of a dump suit a process on this machine. */
import { tune } from '../index.js'
import { print, printJson, tell } from './output.js'
import { abortOnSignals } from './signals.js'
import { formatTuning } from './tune-text.js'
import { tuningOptions, type TuningArguments } from './tuning-options.js'
import { formatMicros, MAX_PID, parseSeconds, parseWhole } from './units.js'

const MAX_ROUNDS = 100
const DEFAULT_FROZEN_MS = 5_000

/** The command's options as yargs hands them over. */
export interface TuneArguments extends TuningArguments {
  readonly tree: string
  readonly imagesDir: string | undefined
  readonly rounds: string | undefined
  readonly timeout: string | undefined
  readonly json: boolean
}

/** Runs the command. Throws TidemarkError. */
export async function runTune(args: TuneArguments): Promise<void> {
  const { tree, imagesDir, rounds, timeout } = args
  const options = {
    pid: parseWhole('tree', tree, 1, MAX_PID),
    ...tuningOptions(args),
    ...(imagesDir === undefined ? {} : { imagesDir }),
    ...(rounds === undefined ? {} : { rounds: parseWhole('rounds', rounds, 1, MAX_ROUNDS) }),
    ...(timeout === undefined ? {} : { timeoutMs: parseSeconds('timeout', timeout) }),
  }
  const controller = new AbortController()
  abortOnSignals(controller)
  const result = await tune({
    ...options,
    signal: controller.signal,
    onProgress: ({ doneFreezes, totalFreezes }) => {
      if (doneFreezes === 0) tell(announce(options.pid, totalFreezes, options.maxFrozenMs))
    },
  })
  for (const warning of result.warnings) tell(`tidemark: warning: ${warning}`)
  if (args.json) printJson(result)
  else print(formatTuning(result, options))
}

/** What is going to happen to the process, said before it does. */
function announce(pid: number, freezes: number, maxFrozenMs = DEFAULT_FROZEN_MS): string {
  return (
    `tidemark: warning: process ${String(pid)} will be frozen ${String(freezes)} times, ` +
    `each time for at most ${formatMicros(maxFrozenMs * 1000)}; Ctrl-C ends it without harm`
  )
}
