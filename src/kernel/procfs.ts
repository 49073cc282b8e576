/**
 * What /proc tells of a process. Reading is here, parsing of maps and smaps in maps-text.
 *
 * Every path goes by the id of a live thread, since a process whose main thread has ended has no maps under
 * its own number.
 */
import { closeSync, openSync, readdirSync, readFileSync, readlinkSync, readSync } from 'node:fs'
import { codeOf, TidemarkError } from '../errors.js'

/** Facts of /proc/PID/stat. Addresses are 0 where we may not trace the process. source: fs/proc/array.c do_task_stat */
export interface ProcessStat {
  readonly comm: string
  /** One letter: R S D T t Z X I. */
  readonly state: string
  readonly ppid: number
  readonly pgid: number
  readonly sid: number
  /** PF_* flags. */
  readonly flags: number
  /** Since boot, in clock ticks. */
  readonly startTimeTicks: number
  readonly startCode: number
  readonly endCode: number
  readonly startStack: number
  readonly startData: number
  readonly endData: number
  readonly startBrk: number
  readonly argStart: number
  readonly argEnd: number
  readonly envStart: number
  readonly envEnd: number
  /** Which signal the parent gets when it ends; 0 for none. */
  readonly exitSignal: number
  /** As wait tells it; 0 while it lives, or where we may not trace it. */
  readonly exitStatus: number
}

/** Names and values of /proc/PID/status. */
export type ProcessStatus = ReadonlyMap<string, string>

/** Type of an auxiliary vector's entry that points to 16 random bytes, made anew by each exec. source: uapi/linux/auxvec.h */
const AT_RANDOM = 25n

const chunk = Buffer.allocUnsafeSlow(1 << 20)

/** The whole of a /proc file; undefined where the process or thread is gone. Other errors are thrown as they are. */
export function readProc(path: string): Buffer | undefined {
  let fd: number
  try {
    fd = openSync(path, 'r')
  } catch (error) {
    if (isGone(error)) return undefined
    throw error
  }
  try {
    const parts: Buffer[] = []
    for (;;) {
      const length = readSync(fd, chunk, 0, chunk.length, null)
      if (length === 0) return Buffer.concat(parts)
      parts.push(Buffer.from(chunk.subarray(0, length)))
    }
  } catch (error) {
    if (isGone(error)) return undefined
    throw error
  } finally {
    closeSync(fd)
  }
}

/** The same as text. */
export function readProcText(path: string): string | undefined {
  return readProc(path)?.toString('utf8')
}

/** Facts of a process or thread, or undefined where it is gone. */
export function readStat(pid: number, tid = pid): ProcessStat | undefined {
  const text = readProcText(`/proc/${String(pid)}/task/${String(tid)}/stat`)
  if (text === undefined || text === '') return undefined
  const open = text.indexOf('(')
  const close = text.lastIndexOf(')')
  const fields = text
    .slice(close + 2)
    .trimEnd()
    .split(' ')
  // Field numbers are those of proc(5); the first of `fields` is number 3.
  const field = (number: number) => Number(fields[number - 3] ?? 0)
  return {
    comm: text.slice(open + 1, close),
    state: fields[0] ?? '?',
    ppid: field(4),
    pgid: field(5),
    sid: field(6),
    flags: field(9),
    startTimeTicks: field(22),
    startCode: field(26),
    endCode: field(27),
    startStack: field(28),
    startData: field(45),
    endData: field(46),
    startBrk: field(47),
    argStart: field(48),
    argEnd: field(49),
    envStart: field(50),
    envEnd: field(51),
    exitSignal: field(38),
    exitStatus: field(52),
  }
}

/** /proc/PID/status by name, or undefined where the process or thread is gone. */
export function readStatus(pid: number, tid = pid): ProcessStatus | undefined {
  const text = readProcText(`/proc/${String(pid)}/task/${String(tid)}/status`)
  if (text === undefined) return undefined
  const status = new Map<string, string>()
  for (const line of text.split('\n')) {
    const colon = line.indexOf(':')
    if (colon > 0) status.set(line.slice(0, colon), line.slice(colon + 1).trim())
  }
  return status
}

/** The last number of a status line such as NSpid: the value in the process's own namespace. */
export function lastNumber(line: string | undefined): number | undefined {
  const last = line?.split(/\s+/).at(-1)
  return last === undefined || last === '' ? undefined : Number(last)
}

/** Whether a thread has memory: a zombie, one that is ending and a kernel thread have none. source: fs/proc/array.c proc_pid_statm */
export function hasMemory(tid: number): boolean {
  return readProcText(`/proc/${String(tid)}/statm`)?.startsWith('0 ') === false
}

/** Ids of the process's threads; empty where it is gone. */
export function listThreads(pid: number): number[] {
  return listNumbers(`/proc/${String(pid)}/task`)
}

/** Ids of all processes that we can see. */
export function listProcesses(): number[] {
  return listNumbers('/proc')
}

/** Target of a /proc symbolic link such as `exe` or `ns/user`; undefined where it is gone or not for us. */
export function readProcLink(path: string): string | undefined {
  try {
    return readlinkSync(path)
  } catch {
    return undefined
  }
}

/** Bytes of a process's anonymous memory that lie in transparent huge pages; 0 where the kernel does not tell. */
export function readHugeBytes(tid: number): number {
  const match = /^AnonHugePages:\s*(\d+) kB/m.exec(readProcText(`/proc/${String(tid)}/smaps_rollup`) ?? '')
  return Number(match?.[1] ?? 0) * 1024
}

/** The auxiliary vector: types and values in turn, without the last, empty pair. */
export function readAuxv(tid: number): bigint[] {
  const bytes = readProc(`/proc/${String(tid)}/auxv`) ?? Buffer.alloc(0)
  const words: bigint[] = []
  for (let at = 0; at + 8 <= bytes.length; at += 8) words.push(bytes.readBigUInt64LE(at))
  return words
}

/** Address of the 16 random bytes that the kernel gave the program at exec, or undefined. */
export function auxRandomAddress(auxv: readonly bigint[]): number | undefined {
  for (let index = 0; index + 1 < auxv.length; index += 2) {
    if (auxv[index] === AT_RANDOM) return Number(auxv[index + 1])
  }
  return undefined
}

/** The id of this boot of the machine. source: drivers/char/random.c */
export function readBootId(): string {
  return readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim()
}

/** Whether an error of fs means that the process is gone. */
export function isGone(error: unknown): boolean {
  const code = codeOf(error)
  return code === 'ENOENT' || code === 'ESRCH'
}

/** The error for a process that has gone while it was being dumped. */
export function targetDied(pid: number, cause?: unknown): TidemarkError {
  return new TidemarkError(
    'TARGET_DIED',
    `process ${String(pid)} ended during the dump; nothing was saved`,
    { pid },
    cause,
  )
}

function listNumbers(path: string): number[] {
  let names: string[]
  try {
    names = readdirSync(path)
  } catch (error) {
    if (isGone(error)) return []
    throw error
  }
  return names.filter((name) => /^\d+$/.test(name)).map(Number)
}
