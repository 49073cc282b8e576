/**
 * Who the target is, and whether it may be dumped at all: asked before anything is done to it.
 */
import { closeSync, openSync, readdirSync, readSync, statSync, type Stats } from 'node:fs'
import { codeOf, TidemarkError } from '../errors.js'
import { PF_KTHREAD } from './abi.js'
import { permissionError } from './permission.js'
import {
  hasMemory,
  isGone,
  lastNumber,
  listThreads,
  readProcLink,
  readProcText,
  readStat,
  readStatus,
  targetDied,
} from './procfs.js'
import { auxRandomAddress, readAuxv, type ProcessStat } from './procfs.js'
import { TargetMemory } from './target-memory.js'

/** What makes a process itself: the pid alone may be another's tomorrow, and exec keeps pid and start time. */
export interface TargetIdentity {
  readonly pid: number
  /** Its pid in its own pid namespace, by which CRIU names images. */
  readonly nsPid: number
  /** A live thread: the main thread, or another where that one has ended. */
  readonly tid: number
  readonly startTimeTicks: number
  readonly exe: string
  readonly comm: string
  /** The 16 bytes at AT_RANDOM in hex, made anew by each exec; empty where they cannot be read. */
  readonly auxRandom: string
}

const ELF_CLASS_OFFSET = 4
const ELF_CLASS_64 = 2
const ELF_MACHINE_OFFSET = 18
const EM_X86_64 = 62

/** Who `pid` is. Throws one of the refusals of the README's table where it cannot be dumped; changes nothing. */
export function examineTarget(pid: number): TargetIdentity {
  const stat = readStat(pid)
  const status = readStatus(pid)
  if (stat === undefined || status === undefined) {
    throw new TidemarkError('NO_SUCH_PROCESS', `there is no process ${String(pid)}`, { pid })
  }
  refuseThread(pid, Number(status.get('Tgid')))
  refuseAncestor(pid)
  if ((stat.flags & PF_KTHREAD) !== 0) {
    throw new TidemarkError(
      'KERNEL_THREAD',
      `${String(pid)} (${stat.comm}) is a kernel thread; it has no memory of its own`,
      { pid },
    )
  }
  const tid = liveThread(pid, stat)
  refuseTraced(pid, 'anyone')
  refuseNoAccess(pid, tid)
  refuse32Bit(pid, tid)
  refusePipePeer(pid, tid)
  return {
    pid,
    nsPid: lastNumber(status.get('NSpid')) ?? pid,
    tid,
    startTimeTicks: stat.startTimeTicks,
    exe: readProcLink(`/proc/${String(tid)}/exe`) ?? '',
    comm: stat.comm,
    auxRandom: readAuxRandom(pid, tid),
  }
}

/** Throws `TARGET_CHANGED` unless the process is still what {@link examineTarget} saw. */
export function confirmIdentity(identity: TargetIdentity): void {
  const stat = readStat(identity.pid)
  if (stat === undefined || !hasMemory(identity.tid)) throw targetDied(identity.pid)
  const same =
    stat.startTimeTicks === identity.startTimeTicks &&
    readAuxRandom(identity.pid, identity.tid) === identity.auxRandom
  if (same) return
  throw new TidemarkError(
    'TARGET_CHANGED',
    `process ${String(identity.pid)} became another program while its dump was being prepared; run again`,
    { pid: identity.pid },
  )
}

/** The 16 bytes at AT_RANDOM in hex, or ''. */
function readAuxRandom(pid: number, tid: number): string {
  const address = auxRandomAddress(readAuxv(tid))
  if (address === undefined) return ''
  const memory = new TargetMemory(pid, tid)
  try {
    return memory.readBytes(address, 16)?.toString('hex') ?? ''
  } finally {
    memory.close()
  }
}

function refuseThread(pid: number, tgid: number): void {
  if (tgid === process.pid) {
    throw new TidemarkError(
      'OWN_PROCESS',
      `process ${String(pid)} is Tidemark itself, which cannot freeze itself`,
      { pid },
    )
  }
  if (tgid !== pid) {
    throw new TidemarkError(
      'NO_SUCH_PROCESS',
      `${String(pid)} is a thread of process ${String(tgid)}; give that number`,
      { pid, tid: pid },
    )
  }
}

/** Refuses our ancestors: they wait for us, and a stopped shell or ssh is a stopped user. */
function refuseAncestor(pid: number): void {
  for (let above = readStat(process.pid)?.ppid ?? 0; above > 0; above = readStat(above)?.ppid ?? 0) {
    if (above !== pid) continue
    throw new TidemarkError(
      'OWN_PIPELINE',
      `process ${String(pid)} is an ancestor of this command and waits for it; run Tidemark from elsewhere`,
      { pid },
    )
  }
}

/** Refuses who reads our output or writes our input: left stopped, it would stop us too. */
function refusePipePeer(pid: number, tid: number): void {
  const ours = [0, 1, 2].map((fd) => pipeEnd('self', String(fd))).filter((end) => end !== undefined)
  if (ours.length === 0) return
  for (const fd of listNumbers(tid)) {
    const theirs = pipeEnd(String(tid), fd)
    if (theirs === undefined) continue
    if (!ours.some((end) => end.pipe === theirs.pipe && end.writes !== theirs.writes)) continue
    throw new TidemarkError(
      'OWN_PIPELINE',
      `process ${String(pid)} is at the other end of this command's pipe; redirect to a file instead`,
      { pid },
    )
  }
}

interface PipeEnd {
  /** Device and inode: the same for both ends, named or not. */
  readonly pipe: string
  readonly writes: boolean
}

function pipeEnd(pid: string, fd: string): PipeEnd | undefined {
  const stats = statDescriptor(pid, fd)
  if (stats?.isFIFO() !== true) return undefined
  const flags = /^flags:\s*([0-7]+)/m.exec(readProcText(`/proc/${pid}/fdinfo/${fd}`) ?? '')
  // source: include/uapi/asm-generic/fcntl.h O_ACCMODE 3, O_RDONLY 0
  return {
    pipe: `${String(stats.dev)}:${String(stats.ino)}`,
    writes: parseInt(flags?.[1] ?? '0', 8) % 4 !== 0,
  }
}

/** Undefined where it has been closed meanwhile. */
function statDescriptor(pid: string, fd: string): Stats | undefined {
  try {
    return statSync(`/proc/${pid}/fd/${fd}`)
  } catch {
    return undefined
  }
}

function listNumbers(tid: number): string[] {
  try {
    return readdirSync(`/proc/${String(tid)}/fd`)
  } catch {
    return []
  }
}

function liveThread(pid: number, stat: ProcessStat): number {
  if (stat.state !== 'Z' && stat.state !== 'X') return pid
  const live = listThreads(pid).find((tid) => {
    const state = readStat(pid, tid)?.state
    return state !== undefined && state !== 'Z' && state !== 'X'
  })
  if (live !== undefined) return live
  throw new TidemarkError('ZOMBIE', `process ${String(pid)} has ended and waits for its parent (a zombie)`, {
    pid,
  })
}

/**
 * Throws `ALREADY_TRACED` where any thread has a tracer: it may have taken one alone.
 *
 * @param by - `others`: not where a thread of ours is the tracer, which may not have let go of all yet
 */
export function refuseTraced(pid: number, by: 'anyone' | 'others'): void {
  for (const tid of listThreads(pid)) {
    const tracer = Number(readStatus(pid, tid)?.get('TracerPid') ?? 0)
    if (tracer === 0) continue
    if (by === 'others' && Number(readStatus(tracer)?.get('Tgid')) === process.pid) continue
    throw new TidemarkError(
      'ALREADY_TRACED',
      `process ${String(pid)} is traced by process ${String(tracer)} (${readStat(tracer)?.comm ?? '?'}); end that first`,
      { pid },
    )
  }
}

function refuseNoAccess(pid: number, tid: number): void {
  try {
    const memory = new TargetMemory(pid, tid)
    memory.open()
    memory.close()
  } catch (error) {
    const code = codeOf(error)
    if (code === 'EACCES' || code === 'EPERM') throw permissionError(pid, error)
    throw error
  }
}

function refuse32Bit(pid: number, tid: number): void {
  const header = Buffer.alloc(20)
  try {
    const fd = openSync(`/proc/${String(tid)}/exe`, 'r')
    try {
      readSync(fd, header, 0, header.length, 0)
    } finally {
      closeSync(fd)
    }
  } catch (error) {
    if (isGone(error)) return
    throw error
  }
  if (header[ELF_CLASS_OFFSET] === ELF_CLASS_64 && header.readUInt16LE(ELF_MACHINE_OFFSET) === EM_X86_64)
    return
  throw new TidemarkError(
    'NOT_64_BIT',
    `process ${String(pid)} runs a program that is not x86-64; only those can be dumped`,
    { pid },
  )
}
