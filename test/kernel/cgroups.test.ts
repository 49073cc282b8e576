import { execFileSync, spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from '@jest/globals'
import { availableCpus, availableMemory, freezerStateFile, memoryHeadroom } from '../../src/kernel/cgroups.js'
import { parseFacts, type Facts } from '../support/facts.js'
import { isRoot, itIf } from '../support/privileges.js'
import { withVictim } from '../support/victim.js'
import { withoutNodeOptions } from '../support/victim.js'
import { PROGRAM } from './as-user.js'
import { hasV1Freezer, withFreezer } from './v1-freezer.js'

const GIB = 2 ** 30
const CPU = '/sys/fs/cgroup/cpu'
const MEMORY = '/sys/fs/cgroup/memory'
const UNIFIED = ['/sys/fs/cgroup/unified', '/sys/fs/cgroup'].find((path) =>
  existsSync(join(path, 'cgroup.controllers')),
)

/** What availableCpus and memoryHeadroom say inside a fresh cgroup, whose files have been written. */
function limitsIn(parent: string, limits: Readonly<Record<string, string>>): Facts {
  const folder = join(parent, `tidemark-test-${String(process.pid)}`)
  mkdirSync(folder)
  try {
    for (const [name, value] of Object.entries(limits)) writeFileSync(join(folder, name), value)
    const script = 'echo $$ > "$0/cgroup.procs" && exec "$@"'
    const words = ['-c', script, folder, process.execPath, PROGRAM, 'limits']
    const { status, stdout, stderr } = spawnSync('/bin/sh', words, {
      encoding: 'utf8',
      env: withoutNodeOptions(),
    })
    if (status !== 0) throw new Error(stderr)
    return parseFacts(stdout)
  } finally {
    rmdirSync(folder)
  }
}

function canMakeGroups(parent: string, file: string): boolean {
  return isRoot && existsSync(join(parent, file))
}

describe('the cores that we may use', () => {
  it('are at least one, whole, and no more than nproc counts', () => {
    const nproc = Number(execFileSync('nproc', { encoding: 'utf8' }))
    const cpus = availableCpus()
    expect(Number.isInteger(cpus)).toBe(true)
    expect(cpus).toBeGreaterThanOrEqual(1)
    expect(cpus).toBeLessThanOrEqual(nproc)
  })

  itIf(canMakeGroups(CPU, 'cpu.cfs_quota_us'), 'needs root and the version 1 cpu controller')(
    'are rounded down from the quota of a version 1 cgroup, but never to none',
    () => {
      const period = { 'cpu.cfs_period_us': '100000' }
      expect(limitsIn(CPU, { ...period, 'cpu.cfs_quota_us': '190000' }).cpus).toBe(1)
      expect(limitsIn(CPU, { ...period, 'cpu.cfs_quota_us': '40000' }).cpus).toBe(1)
      const unlimited = limitsIn(CPU, { ...period, 'cpu.cfs_quota_us': '-1' }).cpus
      expect(unlimited).toBe(availableCpus())
      const plenty = limitsIn(CPU, { ...period, 'cpu.cfs_quota_us': '90000000' }).cpus
      expect(plenty).toBe(availableCpus())
    },
  )

  const hasUnifiedCpu = UNIFIED !== undefined && controllersIn(UNIFIED).includes('cpu')
  itIf(isRoot && hasUnifiedCpu, 'needs root and the version 2 cpu controller')(
    'are rounded down from the quota of a version 2 cgroup',
    () => {
      expect(limitsIn(UNIFIED ?? '', { 'cpu.max': '150000 100000' }).cpus).toBe(1)
    },
  )
})

describe('the memory that we may use', () => {
  it('of the machine is what the kernel has left', () => {
    const available = availableMemory()
    const total = Number(/^MemTotal:\s*(\d+) kB/m.exec(readFileSync('/proc/meminfo', 'latin1'))?.[1]) * 1024
    expect(available).toBeGreaterThan(0)
    expect(available).toBeLessThan(total)
  })

  it('of our cgroups is bounded by the limits that hold here', () => {
    const path = /^\d+:memory:(.*)$/m.exec(readFileSync('/proc/self/cgroup', 'latin1'))?.[1]
    const own = path === undefined ? undefined : join(MEMORY, path, 'memory.limit_in_bytes')
    const said = own === undefined || !existsSync(own) ? Infinity : Number(readFileSync(own, 'latin1').trim())
    // Version 1 says "no limit" by a number near 2^63.
    const limit = said > 2 ** 62 ? Infinity : said
    const headroom = memoryHeadroom(process.pid)
    expect(headroom).toBeGreaterThan(0)
    expect(headroom).toBeLessThanOrEqual(limit)
  })

  itIf(canMakeGroups(MEMORY, 'memory.limit_in_bytes'), 'needs root and the version 1 memory controller')(
    'is what a version 1 cgroup leaves of its limit',
    () => {
      const { headroom } = limitsIn(MEMORY, { 'memory.limit_in_bytes': String(GIB) })
      expect(headroom).toBeLessThan(GIB)
      expect(headroom).toBeGreaterThan(GIB / 2)
    },
  )
})

describe('the state file of a freezer', () => {
  const itFreezes = itIf(hasV1Freezer, 'needs root and a version 1 freezer cgroup')

  it('is none for a process that no freezer holds', () => {
    expect(freezerStateFile(process.pid)).toBeUndefined()
    expect(freezerStateFile(2 ** 22)).toBeUndefined()
  })

  itFreezes('is that of the cgroup that holds the process, while it does', async () => {
    await withVictim('plain', [], async ({ pid }) => {
      await withFreezer(async (group) => {
        expect(freezerStateFile(pid)).toBeUndefined()
        group.add(pid)
        expect(freezerStateFile(pid)).toBeUndefined()
        await group.freeze()
        expect(freezerStateFile(pid)).toBe(group.stateFile)
        expect(freezerStateFile(process.pid)).toBeUndefined()
        group.thaw()
        expect(freezerStateFile(pid)).toBeUndefined()
      })
    })
  })
})

function controllersIn(folder: string): string[] {
  return readFileSync(join(folder, 'cgroup.subtree_control'), 'latin1').trim().split(' ')
}
