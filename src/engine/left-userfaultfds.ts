/**
 * What a run that was killed before its record may have left in the target: a userfaultfd, which nobody could tell from
 * the program's own. So there is a note:
 *
 *   noted: those that were there ─▶ opened ─▶ noted: which it is ─▶ on record, note removed
 *                                └▶ killed: whatever was not there, and looks like ours, is ours
 *                                                             └▶ killed: that one is ours
 */
import { readFileSync } from 'node:fs'
import type { OpenDescriptors } from '../kernel/descriptors.js'
import { readBootId } from '../kernel/procfs.js'
import type { TargetIdentity } from '../kernel/target.js'
import { findUserfaultfds, looksLikeOurs, type RemoteUserfaultfd } from '../kernel/userfaultfd.js'
import { readRecord, recordedInodes, recordPath, removeRecord, replaceFile } from './interval-record.js'

/** The note. */
interface OpeningNote {
  readonly bootId: string
  readonly auxRandom: string
  /** Inodes of the userfaultfds that the program had. */
  readonly before: readonly number[]
  /** Inodes of those that we have opened; undefined while that is not known. */
  readonly opened: readonly number[] | undefined
}

/**
 * Has `open` open a userfaultfd in the standing target, on note; its descriptor there.
 *
 * @param there - the target's descriptors before
 * @throws RECORD_FAILED before anything is opened, and what `open` throws
 */
export function openOnNote(target: TargetIdentity, there: OpenDescriptors, open: () => number): number {
  const { tid } = target
  const before = inodesOf(findUserfaultfds(tid, there.userfaultfds))
  writeNote(target, before, undefined)
  try {
    const fd = open()
    writeNote(target, before, inodesOf(findUserfaultfds(tid, [fd])))
    return fd
  } catch (error) {
    // It stands: what is new is ours.
    const opened = inodesOf(findUserfaultfds(tid)).filter((inode) => !before.includes(inode))
    if (opened.length === 0) forgetOpening(target)
    else writeNote(target, before, opened)
    throw error
  }
}

/** Removes the note: nothing was left, or it is on record. */
export function forgetOpening(target: TargetIdentity): void {
  removeRecord(target, 'uffd')
}

/** Userfaultfds that a killed run of ours has left in `target`; a number for each duplicate. */
export function leftUserfaultfds(target: TargetIdentity): RemoteUserfaultfd[] {
  const note = readNote(target)
  if (note === undefined) return []
  const { before, opened } = note
  const recorded = readRecord(target)?.state.userfaultfd?.inode
  return findUserfaultfds(target.tid).filter(({ fd, inode }) => {
    if (inode === recorded || before.includes(inode)) return false
    return opened === undefined ? looksLikeOurs(target.tid, fd) : opened.includes(inode)
  })
}

/**
 * Whether some of `there` are the program's own: none of a record of ours, be it that of the process which forked this
 * one, and none that a killed run has left.
 */
export function usesUserfaultfd(target: TargetIdentity, there: OpenDescriptors): boolean {
  const found = findUserfaultfds(target.tid, there.userfaultfds)
  if (found.length === 0) return false
  const ours = new Set([...recordedInodes(), ...inodesOf(leftUserfaultfds(target))])
  return found.some(({ inode }) => !ours.has(inode))
}

function inodesOf(userfaultfds: readonly RemoteUserfaultfd[]): number[] {
  return userfaultfds.map(({ inode }) => inode)
}

function writeNote(
  target: TargetIdentity,
  before: readonly number[],
  opened: readonly number[] | undefined,
): void {
  const note: OpeningNote = { bootId: readBootId(), auxRandom: target.auxRandom, before, opened }
  replaceFile(recordPath(target, 'uffd'), note)
}

function readNote(target: TargetIdentity): OpeningNote | undefined {
  let value: unknown
  try {
    value = JSON.parse(readFileSync(recordPath(target, 'uffd'), 'utf8'))
  } catch {
    return undefined
  }
  if (!isNote(value)) return undefined
  return value.bootId === readBootId() && value.auxRandom === target.auxRandom ? value : undefined
}

// What we wrote ourselves, and nobody else may write.
function isNote(value: unknown): value is OpeningNote {
  return typeof value === 'object' && value !== null && 'before' in value && Array.isArray(value.before)
}
