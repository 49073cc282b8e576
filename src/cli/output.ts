/** Where text goes: results to stdout, everything else to stderr. */
import { EXIT_STATUS, isTidemarkError, TidemarkError } from '../index.js'

/** Prints a result. */
export function print(text: string): void {
  process.stdout.write(`${text}\n`)
}

/** Prints a result as one line of JSON. */
export function printJson(value: unknown): void {
  print(JSON.stringify(value))
}

/** Tells the user something that is not the result. */
export function tell(text: string): void {
  process.stderr.write(`${text}\n`)
}

/** Whether the words of a command line ask for JSON, even where they cannot be understood otherwise. */
export function wantsJson(words: readonly string[]): boolean {
  const end = words.indexOf('--')
  const options = end < 0 ? words : words.slice(0, end)
  const last = options.findLast((word) => /^--(no-)?json(=|$)/.test(word))
  return last !== undefined && last !== '--no-json' && !/^--(no-json=true|json=false)$/.test(last)
}

const SIGNAL_STATUS: Readonly<Record<string, number>> = { SIGHUP: 129, SIGINT: 130, SIGTERM: 143 }

/** Reports `error` as one line (and as JSON on stdout where asked); the exit status for it. */
export function reportError(error: unknown, json: boolean): number {
  const known = isTidemarkError(error) ? error : internalError(error)
  tell(`tidemark: ${known.code}: ${known.message}`)
  if (json) printJson({ error: { code: known.code, message: known.message, details: known.details } })
  const { signal } = known.details
  const bySignal = signal === undefined ? undefined : SIGNAL_STATUS[signal]
  return known.code === 'INTERRUPTED' && bySignal !== undefined ? bySignal : EXIT_STATUS[known.code]
}

/** A bug of ours: its stack is worth more than its message. */
function internalError(error: unknown): TidemarkError {
  const stack =
    typeof error === 'object' && error !== null && 'stack' in error ? String(error.stack) : String(error)
  return new TidemarkError('INTERNAL', `this is a bug in Tidemark, please report it: ${stack}`)
}
