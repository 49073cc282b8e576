/**
 * What a run that was killed while it made a fork may have left in the target: a zombie, which the next run reaps.
 *
 *   noted ─▶ fork made, its go-between gone ─▶ note removed
 *         └▶ killed: the note stays, and tells that such a zombie is ours to reap
 */
import { closeSync, existsSync, openSync, rmSync } from 'node:fs'
import { findLeftChildren } from '../kernel/fork.js'
import type { TargetIdentity } from '../kernel/target.js'
import { prepareRecords, recordFailed, recordPath } from './interval-record.js'

/** Notes that `target` is about to be forked. Throws `RECORD_FAILED`. */
export function noteFork(target: TargetIdentity): void {
  prepareRecords()
  const path = recordPath(target, 'fork')
  try {
    closeSync(openSync(path, 'w', 0o600))
  } catch (error) {
    throw recordFailed(path, error)
  }
}

/** Removes the note: nothing was left, or it was reaped. */
export function forgetFork(target: TargetIdentity): void {
  rmSync(recordPath(target, 'fork'), { force: true })
}

/** Pids of what a killed run has left in `target`. */
export function leftChildren(target: TargetIdentity): number[] {
  return existsSync(recordPath(target, 'fork')) ? findLeftChildren(target.pid) : []
}
