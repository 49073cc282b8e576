/** What a user is told of a target that stands too long, before and after it does: how much, and what to do. */
import { codeOf, messageOf, TidemarkError } from '../errors.js'
import { pageSize } from '../kernel/page-size.js'
import type { CaptureMethod, DumpSettings } from './options.js'
import { stagingBytesFor } from './prepare.js'

/** How much is to be taken while the target stands, and what staging memory there is for it. */
export interface CaptureSize {
  readonly method: CaptureMethod
  /** Pages to copy while it stands. */
  readonly pages: number
  readonly stagingBytes: number
}

/** The warning for memory that staging memory has no room for; empty where it has. */
export function excessWarning({ pid, mode }: DumpSettings, size: CaptureSize): string {
  const excess = excessBytes(size)
  if (mode === 'pre-dump' || excess === 0) return ''
  return `${excessText(size)} and will be written while process ${String(pid)} stands still; ${memoryRemedy(size)}`
}

/** `error` with what the user can do about it, if it is one of a target that stood too long. */
export function withRemedy(error: unknown, { pid, mode }: DumpSettings, size: CaptureSize): unknown {
  if (codeOf(error) !== 'FROZEN_TOO_LONG') return error
  const remedies = [
    ...(excessBytes(size) > 0 && mode === 'dump' ? [`${excessText(size)}: ${memoryRemedy(size)}`] : []),
    ...(size.method === 'copy' && mode === 'dump' ? ['capture by --capture fork'] : []),
    'allow more time by --max-frozen',
  ]
  const text = `${messageOf(error)}; ${remedies.join(', or ')}`
  return new TidemarkError('FROZEN_TOO_LONG', text, { pid }, error)
}

function excessBytes({ pages, stagingBytes }: CaptureSize): number {
  return Math.max(0, pages * pageSize() - stagingBytes)
}

function excessText(size: CaptureSize): string {
  return `${mebibytes(excessBytes(size))} of ${mebibytes(size.pages * pageSize())} exceed --max-memory`
}

function memoryRemedy({ pages }: CaptureSize): string {
  return `give --max-memory ${String(Math.ceil(stagingBytesFor(pages) / 2 ** 20))}M where the machine has it`
}

function mebibytes(bytes: number): string {
  return `${String(Math.ceil(bytes / 2 ** 20))} MiB`
}
