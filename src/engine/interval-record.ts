/**
 * The record of the interval that runs: which snapshot consumed the dirty bits of a process last.
 *
 *   snapshot A       reset, recorded as A       snapshot B: its parent must be A, or its holes would lie
 *
 * It is written before the bits are reset. So a run that dies anywhere after that leaves a record of a snapshot
 * which does not exist, and the next dump knows that it must be full. The directory lies in memory (/run): a
 * machine that reboots forgets the record with the process.
 */
import {
  closeSync,
  fchmodSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import { codeOf, messageOf, TidemarkError } from '../errors.js'
import { readBootId, readStat } from '../kernel/procfs.js'
import type { TargetIdentity } from '../kernel/target.js'
import { TRACKER_NAMES, type TrackerName, type TrackerState } from '../track/tracker.js'
import type { CanaryPage } from './canary.js'

/** What is on record of a process. */
export interface IntervalRecord {
  readonly bootId: string
  readonly pid: number
  readonly startTimeTicks: number
  readonly auxRandom: string
  readonly exe: string
  readonly tracker: TrackerName
  /** The snapshot that the interval began with. */
  readonly snapshotId: string
  readonly state: TrackerState
  readonly canary: readonly CanaryPage[]
  /** Whether the process has a place for a mark, which names that snapshot too. */
  readonly marked: boolean
}

const VERSION = 1
const RECORD_NAME = /^(\d+)-(\d+)\.(json|fork|uffd)$/

/** The runtime directory: of the system for root, else of the user. */
export function runtimeDirectory(): string {
  const uid = process.geteuid?.() ?? 0
  if (uid === 0) return '/run/tidemark'
  const own = process.env.XDG_RUNTIME_DIR
  return own === undefined || own === '' ? `/tmp/tidemark-${String(uid)}` : join(own, 'tidemark')
}

/** The record of `target`, or undefined where there is none, or none that can be read or is of this process. */
export function readRecord(target: TargetIdentity): IntervalRecord | undefined {
  const value = parseRecord(recordPath(target))
  if (value === undefined) return undefined
  const same =
    value.bootId === readBootId() &&
    value.pid === target.pid &&
    value.startTimeTicks === target.startTimeTicks &&
    value.auxRandom === target.auxRandom
  return same ? value : undefined
}

/** Inodes of the userfaultfds that the records of all processes name. */
export function recordedInodes(): number[] {
  return listRecords()
    .map((name) => parseRecord(join(runtimeDirectory(), name)))
    .flatMap((record) => (record?.bootId === readBootId() ? (record.state.userfaultfd?.inode ?? []) : []))
}

/** Makes the runtime directory, and removes the records of processes that have ended. Throws `RECORD_FAILED`. */
export function prepareRecords(): void {
  const folder = runtimeDirectory()
  try {
    mkdirSync(folder, { recursive: true, mode: 0o700 })
    const { uid } = lstatSync(folder)
    if (uid !== process.geteuid?.()) throw new Error(`it belongs to user ${String(uid)}`)
    for (const name of readdirSync(folder)) {
      const [, pid, ticks] = RECORD_NAME.exec(name) ?? []
      if (pid !== undefined && readStat(Number(pid))?.startTimeTicks !== Number(ticks))
        rmSync(join(folder, name))
    }
  } catch (error) {
    throw recordFailed(folder, error)
  }
}

/** Puts `record` in the place of the one before, all at once. Throws `RECORD_FAILED`; then the old one stands. */
export function writeRecord(record: IntervalRecord): void {
  replaceFile(recordPath(record), { version: VERSION, ...record })
}

/** Puts `content`, as JSON, in the place of the file at `path`, all at once. Throws `RECORD_FAILED`. */
export function replaceFile(path: string, content: object): void {
  const temporary = `${path}.${String(process.pid)}`
  try {
    const fd = openSync(temporary, 'w', 0o600)
    try {
      fchmodSync(fd, 0o600)
      writeSync(fd, JSON.stringify(content))
    } finally {
      closeSync(fd)
    }
    renameSync(temporary, path)
  } catch (error) {
    rmSync(temporary, { force: true })
    throw recordFailed(path, error)
  }
}

/** What is on record of a process: its interval, that it is being forked, or that a userfaultfd is being opened in it. */
export type RecordKind = 'json' | 'fork' | 'uffd'

/** Forgets the interval of `target`, or a note. */
export function removeRecord(target: TargetIdentity, kind: RecordKind = 'json'): void {
  rmSync(recordPath(target, kind), { force: true })
}

/** The file for what is on record of a process. */
export function recordPath(
  { pid, startTimeTicks }: Pick<IntervalRecord, 'pid' | 'startTimeTicks'>,
  kind: RecordKind = 'json',
): string {
  return join(runtimeDirectory(), `${String(pid)}-${String(startTimeTicks)}.${kind}`)
}

/** The error for a record that cannot be kept at `path`. */
export function recordFailed(path: string, error: unknown): TidemarkError {
  return new TidemarkError(
    'RECORD_FAILED',
    `the record of what was dumped last cannot be kept in ${path}: ${messageOf(error)}`,
    { path, errno: codeOf(error) ?? 'unknown' },
    error,
  )
}

function listRecords(): string[] {
  try {
    return readdirSync(runtimeDirectory()).filter((name) => RECORD_NAME.exec(name)?.[3] === 'json')
  } catch {
    return []
  }
}

function parseRecord(path: string): IntervalRecord | undefined {
  try {
    const value: unknown = JSON.parse(readFileSync(path, 'utf8'))
    return isRecord(value) ? value : undefined
  } catch {
    return undefined
  }
}

// What we wrote ourselves, and nobody else may write: a change of version is all that there is to expect.
function isRecord(value: unknown): value is IntervalRecord {
  if (typeof value !== 'object' || value === null || !('version' in value) || value.version !== VERSION)
    return false
  const texts = ['bootId', 'auxRandom', 'exe', 'snapshotId', 'tracker']
  const fields = new Map(Object.entries(value))
  return (
    texts.every((name) => typeof fields.get(name) === 'string') &&
    TRACKER_NAMES.some((name) => name === fields.get('tracker')) &&
    typeof fields.get('state') === 'object' &&
    Array.isArray(fields.get('canary'))
  )
}
