/** Ending this process without waiting for its threads. */
import { SYS } from './abi.js'
import { syscall } from './libc.js'

/** Ends all threads at once, whatever they are in, and the process with `status`. source: exit_group(2) */
export function exitGroup(status: number): void {
  syscall(SYS.exitGroup, status, 0, 0, 0, 0)
}
