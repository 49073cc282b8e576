/**
 * Borrowing a thread of a held target: which one, where its frame goes, and that it is put back whatever happens. What is
 * done to it is in kernel/borrowed-thread.
 */
import { isTidemarkError } from '../errors.js'
import { hasEnded } from './await-stop.js'
import { BorrowedThread, type InjectionOptions } from './borrowed-thread.js'
import { CallStub } from './call-stub.js'
import { targetDied } from './procfs.js'
import { BARE_FRAME_BYTES } from './signal-frame.js'
import { chooseThread, type HeldThreads, refuseProcess } from './thread-choice.js'

/** Runs one system call of the target: its result, or the negative errno. */
export type RemoteCall = (number: number, ...args: readonly number[]) => number

/** A thread that has been borrowed. */
export interface OpenInjection {
  readonly call: RemoteCall
  readonly thread: BorrowedThread
  readonly stub: CallStub
  /** Place for a bare frame of a child; undefined where there is none, or where none was asked for. */
  readonly childFrame: number | undefined
  /** Puts the thread back as it was, where it stood. */
  readonly close: () => void
}

/**
 * Borrows a thread of the target to run system calls. Called by the thread that traces; the caller closes it.
 *
 * @throws INJECTION_REFUSED before anything is touched, or where a thread does not run; TARGET_DIED
 */
export function openInjection(held: HeldThreads, options: InjectionOptions): OpenInjection {
  const [anyThread] = held.threads
  if (anyThread === undefined) throw targetDied(held.pid)
  refuseProcess(held)
  const stub = new CallStub(held.pid, anyThread, held.places)
  try {
    const childFrame = options.forks === true ? stub.reserveInVdso(BARE_FRAME_BYTES) : undefined
    const chosen = chooseThread(held, stub, options.onMainStack === true)
    const thread = new BorrowedThread(held.pid, chosen, stub, options)
    try {
      thread.begin()
    } catch (error) {
      thread.end()
      throw error
    }
    return {
      call: (number, ...args) => thread.call(number, args),
      ...{ thread, stub, childFrame },
      close: () => {
        try {
          thread.end()
        } catch (error) {
          throw endOf(held, error)
        } finally {
          stub.close()
        }
      },
    }
  } catch (error) {
    stub.close()
    throw endOf(held, error)
  }
}

/** `error`, or that the target has ended, where it has or is about to: only SIGKILL takes a held thread away from us. */
export function endOf({ pid, threads }: HeldThreads, error: unknown): unknown {
  const isTaken = isTidemarkError(error) && error.details.errno === 'ESRCH'
  return isTaken || hasEnded(pid, threads[0] ?? pid) ? targetDied(pid, error) : error
}

/** Runs `use` with a way to run system calls inside the target, see {@link openInjection}; closes it, whatever happens. */
export function withInjection<Result>(
  held: HeldThreads,
  options: InjectionOptions,
  use: (call: RemoteCall) => Result,
): Result {
  const injection = openInjection(held, options)
  try {
    return use(injection.call)
  } catch (error) {
    throw endOf(held, error)
  } finally {
    injection.close()
  }
}
