/** An advisory lock that ends with the process, however it ends. source: flock(2) */
import { LOCK_EXCLUSIVE_NOW } from './abi.js'
import { flock } from './libc.js'

/** Takes the lock on an open file or directory; false where another process has it. */
export function tryLock(fd: number): boolean {
  return flock(fd, LOCK_EXCLUSIVE_NOW) === 0
}
