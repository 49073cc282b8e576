/**
 * Why we may not trace a process: the kernel says only EPERM, its rules are in ptrace(2) under
 * "Ptrace access mode checking". The first rule that fails is named, with the way out.
 */
import { readFileSync, statSync } from 'node:fs'
import { TidemarkError } from '../errors.js'
import { readProcLink, readProcText, readStat, readStatus } from './procfs.js'

/** The `PERMISSION_DENIED` error for process `pid`, with the reason and a remedy. */
export function permissionError(pid: number, cause?: unknown): TidemarkError {
  return new TidemarkError(
    'PERMISSION_DENIED',
    `process ${String(pid)} may not be traced: ${denialReason(pid)}`,
    { pid, errno: 'EPERM' },
    cause,
  )
}

/** Value of kernel.yama.ptrace_scope, or undefined where the kernel has no Yama. */
export function yamaScope(): number | undefined {
  try {
    return Number(readFileSync('/proc/sys/kernel/yama/ptrace_scope', 'latin1'))
  } catch {
    return undefined
  }
}

/** Whether this process has CAP_SYS_PTRACE in its own user namespace. */
export function hasPtraceCapability(): boolean {
  // source: include/uapi/linux/capability.h CAP_SYS_PTRACE 19
  return ((capabilities('self', 'CapEff') >> 19n) & 1n) === 1n
}

function denialReason(pid: number): string {
  const capable = hasPtraceCapability()
  const scope = yamaScope()
  if (scope === 3) return 'Yama forbids it to everybody (kernel.yama.ptrace_scope is 3, until the next boot)'
  // Before all ids and capabilities, which mean something else there.
  if (isInOtherNamespace(pid)) {
    return 'it is in another user namespace, in which you have no CAP_SYS_PTRACE; run as root outside of it'
  }
  if (!capable) {
    const uids = idsOf(pid, 'Uid')
    const own = process.geteuid?.() ?? -1
    if (uids.some((uid) => uid !== own)) {
      return `it runs as uid ${String(uids[0])}, you as ${String(own)}; run as root or as that user`
    }
    const gids = idsOf(pid, 'Gid')
    const group = process.getegid?.() ?? -1
    if (gids.some((gid) => gid !== group)) {
      return `its group is ${String(gids[0])}, yours ${String(group)}; run as root or with that group`
    }
    if (ownerOf(pid) !== own) {
      return 'it is not dumpable (it changed its credentials, or called prctl(PR_SET_DUMPABLE, 0)); run as root'
    }
    if ((capabilities(String(pid), 'CapPrm') & ~capabilities('self', 'CapPrm')) !== 0n) {
      return 'it has capabilities that you have not; run as root'
    }
    if (scope === 2) return 'Yama wants CAP_SYS_PTRACE (kernel.yama.ptrace_scope is 2); run as root'
    if (scope === 1) {
      return 'Yama lets you trace your descendants only (kernel.yama.ptrace_scope is 1); run as root, or let the process call prctl(PR_SET_PTRACER, ...)'
    }
  }
  return capable
    ? 'a security module (SELinux, AppArmor, ...) or seccomp forbids it'
    : 'you have no CAP_SYS_PTRACE; run as root'
}

/**
 * Whether the process is in another user namespace than we are. The link that names it is hidden where we may not trace;
 * then the map of its ids tells, which reads the same only for members of our own. source: user_namespaces(7)
 */
function isInOtherNamespace(pid: number): boolean {
  const theirs = readProcLink(`/proc/${String(pid)}/ns/user`)
  if (theirs !== undefined) return theirs !== readProcLink('/proc/self/ns/user')
  const map = readProcText(`/proc/${String(pid)}/uid_map`)
  return map !== undefined && map !== readProcText('/proc/self/uid_map')
}

/** Real, effective and saved ids of a process. */
function idsOf(pid: number, name: 'Uid' | 'Gid'): number[] {
  const words = readStatus(pid)?.get(name)?.split(/\s+/) ?? []
  return words.slice(0, 3).map(Number)
}

/** Owner of /proc/PID/stat: root for a process that is not dumpable. */
function ownerOf(pid: number): number {
  if (readStat(pid) === undefined) return -1
  return statSync(`/proc/${String(pid)}/stat`).uid
}

function capabilities(pid: string, name: string): bigint {
  const line = new RegExp(`^${name}:\\s*([0-9a-f]+)`, 'm').exec(readFileSync(`/proc/${pid}/status`, 'latin1'))
  return BigInt('0x' + (line?.[1] ?? '0'))
}
