/**
 * Descriptors that a held target opens and closes for us.
 */
import { TidemarkError } from '../errors.js'
import { F_DUPFD_CLOEXEC, SYS, UFFD_FLAGS } from './abi.js'
import type { InjectionOptions } from './borrowed-thread.js'
import { type RemoteCall, withInjection } from './injection.js'
import { errnoNameOf } from './libc.js'
import { readProcText, targetDied } from './procfs.js'
import type { HeldThreads } from './thread-choice.js'

/**
 * Numbers above are not asked for, whatever the limit: the kernel keeps a table up to the highest one, 8 bytes
 * for each. source: fs/file.c expand_fdtable
 */
const MAX_TABLE = 4096
/** What fcntl says where no number that high is free, or allowed. */
const TRY_LOWER = ['EINVAL', 'EMFILE']
/** Below, a number is not out of the way any more. */
const LEAST_HIGH = 16

/**
 * Opens a userfaultfd in the target, close-on-exec and with a number that stays out of the program's way.
 * Returns that number. If we are killed meanwhile the descriptor may stay.
 *
 * @throws SYSCALL_FAILED where the target may open none, e.g. EMFILE, and what withInjection throws
 */
export function openUserfaultfd(held: HeldThreads, options: InjectionOptions = {}): number {
  const limit = openFilesLimit(held)
  return withInjection(held, options, (call) => {
    const low = call(SYS.userfaultfd, UFFD_FLAGS)
    if (low < 0) throw remoteError(held.pid, 'userfaultfd', low)
    let high: number | undefined
    try {
      high = moveUp(call, held.pid, low, limit)
      call(SYS.close, low)
      return high
    } catch (error) {
      for (const fd of [low, high ?? low]) closeQuietly(call, fd)
      throw error
    }
  })
}

/**
 * Closes descriptor `fd` of the target.
 *
 * @throws SYSCALL_FAILED where it is not open, and what withInjection throws
 */
export function closeDescriptor(held: HeldThreads, fd: number, options: InjectionOptions = {}): void {
  const result = withInjection(held, options, (call) => call(SYS.close, fd))
  if (result < 0) throw remoteError(held.pid, 'close', result)
}

/** A duplicate of `low` with a high number, as high as can be. */
function moveUp(call: RemoteCall, pid: number, low: number, limit: number): number {
  for (let least = Math.min(limit, MAX_TABLE) - 1; least >= LEAST_HIGH; least = Math.floor(least / 2)) {
    const result = call(SYS.fcntl, low, F_DUPFD_CLOEXEC, least)
    if (result >= 0) return result
    if (!TRY_LOWER.includes(errnoNameOf(-result)) || least < 2 * LEAST_HIGH)
      throw remoteError(pid, 'fcntl', result)
  }
  throw new TidemarkError('SYSCALL_FAILED', `process ${String(pid)} may open only ${String(limit)} files`, {
    pid,
    syscall: 'fcntl',
    errno: 'EMFILE',
  })
}

/** After a failure, which is what has to be told. */
function closeQuietly(call: RemoteCall, fd: number): void {
  try {
    call(SYS.close, fd)
  } catch {
    // The thread does not run any more.
  }
}

/** The target's soft limit of open descriptors. source: fs/proc/base.c proc_pid_limits */
function openFilesLimit({ pid, threads }: HeldThreads): number {
  const text = readProcText(`/proc/${String(threads[0] ?? pid)}/limits`)
  if (text === undefined) throw targetDied(pid)
  const word = /^Max open files\s+(\S+)/m.exec(text)?.[1]
  return word === undefined || word === 'unlimited' ? MAX_TABLE : Number(word)
}

function remoteError(pid: number, syscall: string, result: number): TidemarkError {
  const errno = errnoNameOf(-result)
  return new TidemarkError(
    'SYSCALL_FAILED',
    `${syscall} failed with ${errno} inside process ${String(pid)}`,
    {
      pid,
      syscall,
      errno,
    },
  )
}
