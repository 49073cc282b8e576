/**
 * The one error class of Tidemark, its codes, and how an error crosses a thread.
 *
 * Every failure that a user can cause or meet has a literal `code`; the README's table lists each code with
 * its exit status, and a test compares the two. Structured clone drops `code`, `details` and the class, so
 * errors travel between threads as {@link ErrorData}.
 */

/** Exit status of the command for each error code. The README's table is checked against this. */
export const EXIT_STATUS = {
  BAD_OPTION: 2,
  UNSUPPORTED_PLATFORM: 2,
  NO_SUCH_PROCESS: 3,
  OWN_PROCESS: 3,
  OWN_PIPELINE: 3,
  KERNEL_THREAD: 3,
  ZOMBIE: 3,
  ALREADY_TRACED: 3,
  NOT_64_BIT: 3,
  SHARED_MM: 3,
  INJECTION_REFUSED: 3,
  FORK_FAILED: 3,
  PERMISSION_DENIED: 4,
  IMAGES_DIR_IN_USE: 5,
  IMAGES_DIR_UNUSABLE: 5,
  WRITE_FAILED: 5,
  TARGET_DIED: 6,
  TARGET_CHANGED: 6,
  UNREADABLE_PAGE: 6,
  SEIZE_TIMEOUT: 7,
  FROZEN_TOO_LONG: 7,
  INCOMPLETE: 8,
  TRACKER_UNAVAILABLE: 10,
  BROKEN_CHAIN: 10,
  RECORD_FAILED: 10,
  DIFFERENT: 11,
  BAD_IMAGE: 9,
  WORKER_FAILED: 1,
  SYSCALL_FAILED: 1,
  INTERNAL: 1,
  INTERRUPTED: 130,
} as const

/** A literal code that says what went wrong. */
export type ErrorCode = keyof typeof EXIT_STATUS

/** Facts about the failure, as far as they apply. */
export interface ErrorDetails {
  readonly pid?: number
  readonly tid?: number
  readonly path?: string
  readonly syscall?: string
  /** Symbolic errno, e.g. `ENOSPC`. */
  readonly errno?: string
  /** Address in the target, in hex. */
  readonly vaddr?: string
  readonly option?: string
  /** Why no system call may be run inside the target, in words. */
  readonly reason?: string
  /** Signal that interrupted the dump, e.g. `SIGINT`. */
  readonly signal?: string
}

/** An error as plain data, fit for structured clone. */
export interface ErrorData {
  readonly code: ErrorCode
  readonly message: string
  readonly details: ErrorDetails
  readonly stack?: string
  readonly cause?: ErrorData
}

/** What Tidemark throws. Recognise it by {@link isTidemarkError}, not by `instanceof`. */
export class TidemarkError extends Error {
  override readonly name = 'TidemarkError'
  readonly code: ErrorCode
  readonly details: ErrorDetails

  constructor(code: ErrorCode, message: string, details: ErrorDetails = {}, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause })
    this.code = code
    this.details = details
  }
}

/** Whether `error` is a {@link TidemarkError}, whichever realm or thread it was made in. */
export function isTidemarkError(error: unknown): error is TidemarkError {
  return (
    typeof error === 'object' &&
    error !== null &&
    'name' in error &&
    error.name === 'TidemarkError' &&
    'code' in error
  )
}

/** The string `code` of any error (`ENOENT` of an fs error, our own codes), or undefined. */
export function codeOf(error: unknown): string | undefined {
  if (typeof error !== 'object' || error === null || !('code' in error)) return undefined
  return typeof error.code === 'string' ? error.code : undefined
}

/** The message of any thrown value. */
export function messageOf(error: unknown): string {
  return typeof error === 'object' && error !== null && 'message' in error
    ? String(error.message)
    : String(error)
}

/** `error` as plain data for another thread; anything that is not ours becomes `INTERNAL` with its stack. */
export function errorToData(error: unknown): ErrorData {
  if (!isTidemarkError(error)) {
    const stack =
      typeof error === 'object' && error !== null && 'stack' in error ? String(error.stack) : undefined
    const data = { code: 'INTERNAL', message: messageOf(error), details: {} } as const
    return stack === undefined ? data : { ...data, stack }
  }
  return {
    code: error.code,
    message: error.message,
    details: error.details,
    ...(error.stack === undefined ? {} : { stack: error.stack }),
    ...(error.cause === undefined ? {} : { cause: errorToData(error.cause) }),
  }
}

/** The error that {@link errorToData} described, with the stack of the thread that threw it. */
export function errorFromData(data: ErrorData): TidemarkError {
  const cause = data.cause === undefined ? undefined : errorFromData(data.cause)
  const error = new TidemarkError(data.code, data.message, data.details, cause)
  if (data.stack !== undefined) error.stack = data.stack
  return error
}
