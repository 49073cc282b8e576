/** `tidemark dump` and `tidemark pre-dump`: options in, a snapshot, a result out. */
import { closeSync, openSync, writeSync } from 'node:fs'
import {
  isTidemarkError,
  TidemarkError,
  type dump,
  type DumpOptions,
  type DumpResult,
  type preDump,
} from '../index.js'
import { formatDump, formatSteps } from './dump-text.js'
import { print, printJson, tell } from './output.js'
import { ProgressBar } from './progress-bar.js'
import { abortOnSignals } from './signals.js'
import { tuningOptions, type TuningArguments } from './tuning-options.js'
import { MAX_PID, parseSeconds, parseWhole } from './units.js'

/** The command's options as yargs hands them over: texts, parsed here so that errors name the option. */
export interface DumpArguments extends TuningArguments {
  readonly tree: string
  readonly imagesDir: string
  readonly leaveStopped: boolean
  readonly leaveRunning: boolean
  readonly timeout: string | undefined
  readonly requireComplete: boolean
  readonly prevImagesDir: string | undefined
  readonly trackMem: boolean
  /** Undefined for a pre-dump, which has no such option. */
  readonly capture: string | undefined
  readonly tracker: string
  readonly onBrokenChain: string
  readonly trustParent: boolean
  readonly sync: boolean
  readonly json: boolean
  readonly quiet: boolean
  readonly verbose: number
  readonly logFile: string | undefined
}

/** Runs the command. Throws TidemarkError. */
export async function runDump(args: DumpArguments, take: typeof dump | typeof preDump): Promise<void> {
  const options = dumpOptions(args)
  const log = openLog(args.logFile)
  const bar = new ProgressBar(!args.quiet && !args.json)
  const controller = new AbortController()
  abortOnSignals(controller)
  try {
    const result = await take({
      ...options,
      signal: controller.signal,
      onProgress: (progress) => {
        bar.update(progress)
      },
      onWarning: (warning) => {
        if (!args.quiet) tell(`tidemark: warning: ${warning}`)
        log.write(`warning: ${warning}`)
      },
    })
    bar.stop()
    report(result, args)
    for (const warning of result.warnings) log.write(`warning: ${warning}`)
    log.write(formatSteps(result))
  } catch (error) {
    log.write(isTidemarkError(error) ? `${error.code}: ${error.message}` : String(error))
    throw error
  } finally {
    bar.stop()
    log.close()
  }
}

/** Checks every option before anything is done. */
function dumpOptions(args: DumpArguments): DumpOptions {
  if (args.leaveStopped && args.leaveRunning) {
    throw new TidemarkError('BAD_OPTION', '--leave-stopped and --leave-running exclude each other', {
      option: 'leave-stopped',
    })
  }
  return {
    pid: parseWhole('tree', args.tree, 1, MAX_PID),
    imagesDir: args.imagesDir,
    leaveStopped: args.leaveStopped,
    requireComplete: args.requireComplete,
    ...(args.prevImagesDir === undefined ? {} : { prevImagesDir: args.prevImagesDir }),
    trackMem: args.trackMem,
    ...(args.capture === undefined
      ? {}
      : { capture: oneOf('capture', args.capture, ['auto', 'fork', 'copy']) }),
    tracker: oneOf('tracker', args.tracker, ['auto', 'soft-dirty', 'uffd-wp', 'content']),
    onBrokenChain: oneOf('on-broken-chain', args.onBrokenChain, ['full', 'fail']),
    trustParent: args.trustParent,
    sync: args.sync,
    ...tuningOptions(args),
    ...(args.timeout === undefined ? {} : { timeoutMs: parseSeconds('timeout', args.timeout) }),
  }
}

/** `text`, if it is one of `allowed`. Throws `BAD_OPTION`. */
function oneOf<T extends string>(option: string, text: string, allowed: readonly T[]): T {
  const found = allowed.find((value) => value === text)
  if (found !== undefined) return found
  throw new TidemarkError('BAD_OPTION', `--${option} is one of ${allowed.join(', ')}, not ${text}`, {
    option,
  })
}

function report(result: DumpResult, args: DumpArguments): void {
  if (!args.quiet) for (const warning of result.warnings) tell(`tidemark: warning: ${warning}`)
  if (args.verbose > 0) tell(formatSteps(result))
  if (args.json) printJson(result)
  else if (!args.quiet) print(formatDump(result))
}

interface Log {
  readonly write: (text: string) => void
  readonly close: () => void
}

/** The log file, opened before the freeze and written after the thaw. */
function openLog(path: string | undefined): Log {
  if (path === undefined) return { write: () => undefined, close: () => undefined }
  let fd: number
  try {
    fd = openSync(path, 'w', 0o600)
  } catch (error) {
    throw new TidemarkError(
      'BAD_OPTION',
      `--log-file ${path} cannot be written`,
      { option: 'log-file', path },
      error,
    )
  }
  return {
    write: (text) => {
      try {
        writeSync(fd, `${text}\n`)
      } catch (error) {
        tell(`tidemark: warning: the log file ${path} cannot be written: ${String(error)}`)
      }
    },
    close: () => {
      closeSync(fd)
    },
  }
}
