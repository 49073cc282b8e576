/** The refusal to run a system call inside a target. */
import { TidemarkError } from '../errors.js'

/** The `INJECTION_REFUSED` error for process `pid`; `reason` completes "since ...". */
export function injectionRefused(pid: number, reason: string, cause?: unknown): TidemarkError {
  return new TidemarkError(
    'INJECTION_REFUSED',
    `no system call can be run inside process ${String(pid)}, since ${reason}; it runs on as it was`,
    { pid, reason },
    cause,
  )
}
