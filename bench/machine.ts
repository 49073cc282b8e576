/** The machine under the benchmark: what it is, whether it is quiet, and warm memory. */
import { spawnSync } from 'node:child_process'
import { readFileSync, statfsSync } from 'node:fs'
import { cpus, release, totalmem } from 'node:os'

/** Facts that a figure means nothing without. */
export interface Machine {
  readonly cpu: string
  readonly cores: number
  readonly memoryBytes: number
  readonly kernel: string
  readonly node: string
  readonly thp: string
  readonly date: string
}

/** This machine. */
export function describeMachine(): Machine {
  return {
    cpu: cpus()[0]?.model ?? 'unknown',
    cores: cpus().length,
    memoryBytes: totalmem(),
    kernel: release(),
    node: process.version,
    thp:
      /\[(\w+)\]/.exec(readFileSync('/sys/kernel/mm/transparent_hugepage/enabled', 'latin1'))?.[1] ??
      'unknown',
    date: new Date().toISOString(),
  }
}

/** A machine in one line. */
export function describe(machine: Machine): string {
  const { cpu, cores, memoryBytes, kernel, node, thp, date } = machine
  const gib = (memoryBytes / 2 ** 30).toFixed(0)
  return `${cpu}, ${cores} cores, ${gib} GiB, Linux ${kernel}, Node ${node}, THP ${thp}, ${date}`
}

/** Name of the file system at `path`, by the magic that statfs gives. source: include/uapi/linux/magic.h */
export function fileSystemOf(path: string): string {
  const names: Readonly<Record<number, string>> = {
    0x01021994: 'tmpfs',
    0xef53: 'ext4',
    0x58465342: 'xfs',
    0x9123683e: 'btrfs',
  }
  const { type } = statfsSync(path)
  return names[type] ?? `0x${type.toString(16)}`
}

/** CPU time that all processes have used since boot, in seconds. source: proc_stat(5) */
export function busySeconds(): number {
  const fields = readFileSync('/proc/stat', 'latin1').split('\n')[0]?.split(/\s+/).slice(1).map(Number) ?? []
  const [user = 0, nice = 0, system = 0, , , irq = 0, softirq = 0] = fields
  return (user + nice + system + irq + softirq) / 100
}

/**
 * CPU time of a process and of its children that have ended, in seconds; 0 where it is gone.
 * source: proc_pid_stat(5) utime, stime, cutime, cstime
 */
export function cpuSeconds(pid: number): number {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    return fields.slice(11, 15).reduce((sum, ticks) => sum + Number(ticks), 0) / 100
  } catch {
    return 0
  }
}

/**
 * Touches and frees `bytes` of memory in another process. A virtual machine with free page reporting gives freed
 * memory back to its host; without this the next program to touch it measures the hypervisor.
 */
export function warmMemory(bytes: number): void {
  const script =
    'const n = Number(process.argv[1]); const all = []; for (let i = 0; i < n; i += 2 ** 28) all.push(Buffer.alloc(2 ** 28, 1))'
  spawnSync(process.execPath, ['-e', script, String(bytes)])
}
