/**
 * What control groups allow us, and whether one holds a target: version 1, version 2 and both at once.
 *
 * source: Documentation/admin-guide/cgroup-v2.rst, cgroup-v1/freezer-subsystem.rst
 */
import { existsSync, readFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { dirname, join, relative } from 'node:path'

/** A limit above this many bytes is none. */
const NO_LIMIT = 2 ** 60

/** Where one hierarchy is mounted. */
interface Hierarchy {
  /** The cgroup that the mount shows as its root. */
  readonly root: string
  readonly mountPoint: string
}

/** Cores that we may use: affinity and CPU quotas counted, at least 1. */
export function availableCpus(): number {
  let cpus = availableParallelism()
  for (const folder of cgroupFolders(process.pid, '')) {
    const [quota, period] = readWords(join(folder, 'cpu.max'))
    if (quota !== undefined && quota !== 'max') cpus = Math.min(cpus, Number(quota) / Number(period))
  }
  for (const folder of cgroupFolders(process.pid, 'cpu')) {
    const quota = Number(readWords(join(folder, 'cpu.cfs_quota_us'))[0] ?? -1)
    const period = Number(readWords(join(folder, 'cpu.cfs_period_us'))[0] ?? 0)
    if (quota > 0 && period > 0) cpus = Math.min(cpus, quota / period)
  }
  return Math.max(1, Math.floor(cpus))
}

/** Bytes that the cgroups of process `pid` let it allocate yet; Infinity where none sets a limit. */
export function memoryHeadroom(pid: number): number {
  let bytes = Infinity
  for (const folder of cgroupFolders(pid, '')) {
    bytes = Math.min(bytes, headroom(folder, 'memory.max', 'memory.current'))
  }
  for (const folder of cgroupFolders(pid, 'memory')) {
    bytes = Math.min(bytes, headroom(folder, 'memory.limit_in_bytes', 'memory.usage_in_bytes'))
  }
  return bytes
}

/** Bytes of memory that the machine can still give out. source: Documentation/filesystems/proc.rst MemAvailable */
export function availableMemory(): number {
  const match = /^MemAvailable:\s*(\d+) kB/m.exec(readFileSync('/proc/meminfo', 'latin1'))
  return match === null ? Infinity : Number(match[1]) * 1024
}

/**
 * The state file of the version 1 freezer cgroup that holds process `pid` now, or undefined.
 *
 * A process frozen by it cannot enter a ptrace stop; one frozen by version 2 can.
 */
export function freezerStateFile(pid: number): string | undefined {
  for (const folder of cgroupFolders(pid, 'freezer')) {
    const state = join(folder, 'freezer.state')
    const word = readWords(state)[0]
    if (word === 'FROZEN' || word === 'FREEZING') return state
  }
  return undefined
}

/** Whether a cgroup, of whichever version, has frozen process `pid`. */
export function isFrozenByCgroup(pid: number): boolean {
  const isFrozen = (folder: string): boolean => readLines(join(folder, 'cgroup.events')).includes('frozen 1')
  return freezerStateFile(pid) !== undefined || cgroupFolders(pid, '').some(isFrozen)
}

/** Folders of the process's cgroup and those above it, in the hierarchy of `controller` ('' is version 2). */
function cgroupFolders(pid: number, controller: string): string[] {
  const path = cgroupPath(pid, controller)
  const hierarchy = findHierarchy(controller)
  if (path === undefined || hierarchy === undefined) return []
  const below = relative(hierarchy.root, path)
  let folder = below.startsWith('..') ? hierarchy.mountPoint : join(hierarchy.mountPoint, below)
  const folders: string[] = []
  for (;;) {
    if (existsSync(folder)) folders.push(folder)
    if (folder === hierarchy.mountPoint || folder === dirname(folder)) return folders
    folder = dirname(folder)
  }
}

/** The process's line in /proc/PID/cgroup for one hierarchy. */
function cgroupPath(pid: number, controller: string): string | undefined {
  for (const line of readLines(`/proc/${String(pid)}/cgroup`)) {
    const [, controllers, path] = /^\d+:([^:]*):(.*)$/.exec(line) ?? []
    if (controllers?.split(',').includes(controller) === true) return path
  }
  return undefined
}

/** Where the hierarchy is mounted, from /proc/self/mountinfo. */
function findHierarchy(controller: string): Hierarchy | undefined {
  for (const line of readLines('/proc/self/mountinfo')) {
    const [mount, fileSystem] = line.split(' - ')
    const [type, , superOptions] = fileSystem?.split(' ') ?? []
    const wanted =
      controller === ''
        ? type === 'cgroup2'
        : type === 'cgroup' && superOptions?.split(',').includes(controller)
    const [, , , root, mountPoint] = mount?.split(' ') ?? []
    if (wanted === true && root !== undefined && mountPoint !== undefined) return { root, mountPoint }
  }
  return undefined
}

function headroom(folder: string, limitFile: string, usageFile: string): number {
  const limit = readWords(join(folder, limitFile))[0]
  const usage = readWords(join(folder, usageFile))[0]
  if (limit === undefined || limit === 'max' || usage === undefined) return Infinity
  // Version 1 says "no limit" by the largest multiple of a page in 63 bits.
  return Number(limit) > NO_LIMIT ? Infinity : Math.max(0, Number(limit) - Number(usage))
}

function readWords(path: string): string[] {
  return readLines(path)[0]?.split(' ') ?? []
}

/** Lines of a small file; none where it is not there or not for us. */
function readLines(path: string): string[] {
  try {
    return readFileSync(path, 'utf8').trimEnd().split('\n')
  } catch {
    return []
  }
}
