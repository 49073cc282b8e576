import { execFileSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from '@jest/globals'
import {
  auxRandomAddress,
  isGone,
  lastNumber,
  listProcesses,
  listThreads,
  readAuxv,
  readBootId,
  readProc,
  readProcLink,
  readProcText,
  readStat,
  readStatus,
  targetDied,
} from '../../src/kernel/procfs.js'
import { numberFact, numbersFact, stringFact } from '../support/facts.js'
import { pageSize, readVmas } from '../support/kernel-vmas.js'
import { readProcessPage } from '../support/oracle.js'
import { suspend } from '../support/processes.js'
import { withTempDir } from '../support/tool.js'
import { withVictim } from '../support/victim.js'
import { withNamedProcess } from './named-victim.js'

/** No process has this number. source: include/linux/threads.h PID_MAX_LIMIT */
const NOBODY_THERE = 2 ** 22

describe('the facts of /proc/PID/stat', () => {
  it.each(['node', 'two words', 'x) R 1 (y', ') Z 0 0 (', '((()))', ' ', 'Z', 'ünïcödé', '1 2 3 4 5 6 7'])(
    'are read right of a process that calls itself "%s"',
    async (comm) => {
      await withNamedProcess(['--comm', comm], async ({ pid, facts }) => {
        await suspend(pid)
        const stat = readStat(pid)
        const status = readFileSync(`/proc/${String(pid)}/status`, 'utf8')
        expect(stat).toMatchObject({
          comm,
          state: 'T',
          ppid: numberFact(facts, 'ppid'),
          pgid: Number(/^NSpgid:\s*(\d+)$/m.exec(status)?.[1]),
          sid: Number(/^NSsid:\s*(\d+)$/m.exec(status)?.[1]),
        })
      })
    },
  )

  it('tell where the program, its heap, its arguments and its environment lie', async () => {
    await withNamedProcess([], async ({ pid }) => {
      const stat = readStat(pid)
      if (stat === undefined) throw new Error('no stat')
      const vmaAt = (address: number): { path: string } | undefined =>
        readVmas(pid).find(
          ({ startPage, endPage }) => startPage * pageSize() <= address && address < endPage * pageSize(),
        )
      expect(vmaAt(stat.startCode)?.path).toBe(process.execPath)
      expect(vmaAt(stat.endCode - 1)?.path).toBe(process.execPath)
      expect(vmaAt(stat.startData)?.path).toBe(process.execPath)
      expect(stat.endData).toBeGreaterThan(stat.startData)
      expect(vmaAt(stat.startStack)?.path).toBe('[stack]')
      expect(vmaAt(stat.startBrk)?.path).toBe('[heap]')
      const cmdline = readFileSync(`/proc/${String(pid)}/cmdline`)
      expect(stat.argEnd - stat.argStart).toBe(cmdline.length)
      expect(bytesAt(pid, stat.argStart, 20).equals(cmdline.subarray(0, 20))).toBe(true)
      const environment = readFileSync(`/proc/${String(pid)}/environ`)
      expect(stat.envEnd - stat.envStart).toBe(environment.length)
      expect(bytesAt(pid, stat.envStart, 20).equals(environment.subarray(0, 20))).toBe(true)
    })
  })

  it('tell when the process started, after its parent and before its children', async () => {
    await withVictim('plain', [], async ({ pid, request }) => {
      const child = numberFact(await request('fork'), 'pid')
      const times = [readStat(process.pid), readStat(pid), readStat(child)].map(
        (stat) => stat?.startTimeTicks,
      )
      expect(times.every((time) => time !== undefined && time > 0)).toBe(true)
      expect([...times].sort((a = 0, b = 0) => a - b)).toEqual(times)
    })
  })

  it('are those of the thread that was asked for', async () => {
    await withVictim('threads', ['--threads', '3'], async ({ pid, facts }) => {
      const tid = numbersFact(facts, 'tids').at(-1) ?? 0
      expect(readStat(pid, tid)).toMatchObject({ state: 'S', ppid: readStat(pid)?.ppid })
      expect(readStatus(pid, tid)?.get('Pid')).toBe(String(tid))
      expect(readStatus(pid, tid)?.get('Tgid')).toBe(String(pid))
    })
  })

  it('tell a kernel thread by its flags', () => {
    const kernelThread = listProcesses().find((pid) => readStat(pid)?.comm === 'kthreadd')
    const flags = kernelThread === undefined ? undefined : readStat(kernelThread)?.flags
    // source: include/linux/sched.h PF_KTHREAD. In a pid namespace there is none to see.
    if (flags !== undefined) expect(Math.floor(flags / 0x00200000) % 2).toBe(1)
    expect(Math.floor((readStat(process.pid)?.flags ?? 0) / 0x00200000) % 2).toBe(0)
  })
})

describe('a process or file that is not there', () => {
  it('is undefined, empty, or gone', () => {
    expect(readStat(NOBODY_THERE)).toBeUndefined()
    expect(readStatus(NOBODY_THERE)).toBeUndefined()
    expect(readStat(process.pid, NOBODY_THERE)).toBeUndefined()
    expect(readProc(`/proc/${String(NOBODY_THERE)}/maps`)).toBeUndefined()
    expect(readProcText(`/proc/${String(NOBODY_THERE)}/maps`)).toBeUndefined()
    expect(readProcLink(`/proc/${String(NOBODY_THERE)}/exe`)).toBeUndefined()
    expect(listThreads(NOBODY_THERE)).toEqual([])
    expect(readAuxv(NOBODY_THERE)).toEqual([])
  })

  it('is told apart from one that is not for us', () => {
    expect([isGone({ code: 'ENOENT' }), isGone({ code: 'ESRCH' })]).toEqual([true, true])
    expect([isGone({ code: 'EACCES' }), isGone(new Error('x')), isGone(undefined)]).toEqual([
      false,
      false,
      false,
    ])
    expect(() => readProc('/proc/self')).toThrow(/EISDIR/)
  })

  it('is a target that has died', () => {
    const cause = new Error('ESRCH')
    expect(targetDied(7, cause)).toMatchObject({ code: 'TARGET_DIED', details: { pid: 7 }, cause })
  })
})

describe('reading a file of /proc', () => {
  it('gives the whole of it, however long', async () => {
    await withTempDir(async (directory) => {
      const path = join(directory, 'long')
      const content = Buffer.alloc(3 * 2 ** 20 + 17, 'tidemark ')
      writeFileSync(path, content)
      expect(readProc(path)?.equals(content)).toBe(true)
      writeFileSync(path, '')
      expect(readProc(path)?.length).toBe(0)
    })
  })

  it('gives bytes that later reads do not change', () => {
    const first = readProc('/proc/self/auxv')
    const copy = Buffer.from(first ?? [])
    readProc('/proc/self/maps')
    expect(copy.length).toBeGreaterThan(0)
    expect(first?.equals(copy)).toBe(true)
  })

  it('gives the names and values of status', async () => {
    await withNamedProcess(['--comm', 'a: b'], async ({ pid }) => {
      const status = readStatus(pid)
      expect(status?.get('Name')).toBe('a: b')
      expect(status?.get('Tgid')).toBe(String(pid))
      expect(status?.get('TracerPid')).toBe('0')
      expect(status?.get('Uid')?.split(/\s+/)).toHaveLength(4)
      expect(status?.get('no such name')).toBeUndefined()
    })
  })

  it('gives the last number of a line', () => {
    expect(lastNumber('4711')).toBe(4711)
    expect(lastNumber('4711\t12\t3')).toBe(3)
    expect([lastNumber(''), lastNumber(undefined)]).toEqual([undefined, undefined])
  })
})

describe('listing', () => {
  it('threads gives all of them', async () => {
    await withVictim('threads', ['--threads', '20'], async ({ pid, facts }) => {
      expect(listThreads(pid).sort((a, b) => a - b)).toEqual(numbersFact(facts, 'tids'))
    })
  })

  it('processes gives numbers, ours among them', () => {
    const all = listProcesses()
    expect(all).toContain(process.pid)
    expect(all.filter((pid) => !Number.isInteger(pid) || pid <= 0)).toEqual([])
  })
})

describe('the 16 random bytes of a program', () => {
  it('are where the auxiliary vector says', async () => {
    await withNamedProcess([], async ({ pid, facts }) => {
      const address = auxRandomAddress(readAuxv(pid)) ?? 0
      expect(bytesAt(pid, address, 16).toString('hex')).toBe(stringFact(facts, 'auxRandom'))
    })
  })

  it('are found by their type alone', () => {
    expect(auxRandomAddress([6n, 25n, 25n, 0x7ffc1230n, 0n, 0n])).toBe(0x7ffc1230)
    expect(auxRandomAddress([3n, 25n, 9n, 25n])).toBeUndefined()
    expect(auxRandomAddress([])).toBeUndefined()
  })
})

describe('the boot', () => {
  it('has the id that the kernel tells', () => {
    const told = execFileSync('cat', ['/proc/sys/kernel/random/boot_id'], { encoding: 'utf8' })
    expect(`${readBootId()}\n`).toBe(told)
  })
})

/** Bytes of a process, which lie in one page. */
function bytesAt(pid: number, address: number, length: number): Buffer {
  const within = address % pageSize()
  const first = readProcessPage(pid, Math.floor(address / pageSize()))
  const rest = within + length > pageSize() ? readProcessPage(pid, Math.floor(address / pageSize()) + 1) : []
  return Buffer.concat([first, Buffer.from(rest)]).subarray(within, within + length)
}
