import { spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { describe, expect, it } from '@jest/globals'
import { listProcesses, readStat } from '../../src/kernel/procfs.js'
import { confirmIdentity, examineTarget } from '../../src/kernel/target.js'
import { numbersFact, stringFact } from '../support/facts.js'
import { isRoot, itIf, NOBODY } from '../support/privileges.js'
import { taskStates, waitUntil } from '../support/processes.js'
import { startVictim, withVictim } from '../support/victim.js'
import { withSeizer } from './seizer.js'
import { withNamedProcess } from './named-victim.js'

const NO_PROCESS = 2 ** 22

const runs32Bit = await startVictim('elf32').then(
  (victim) => victim.stop().then(() => true),
  () => false,
)
const kernelThread = listProcesses().find((pid) => readStat(pid)?.comm === 'kthreadd')

function refusal(code: string, pid: number): object {
  return { code, details: { pid } }
}

function refused(code: string, pid: number): void {
  expect(() => examineTarget(pid)).toThrow(expect.objectContaining({ code }))
}

describe('examining a target', () => {
  it('tells who it is', async () => {
    await withNamedProcess(['--comm', 'a) R (b'], async ({ pid, facts }) => {
      const start = readFileSync(`/proc/${String(pid)}/stat`, 'latin1')
        .split(') ')
        .at(-1)
        ?.split(' ')[19]
      expect(examineTarget(pid)).toEqual({
        pid,
        nsPid: pid,
        tid: pid,
        startTimeTicks: Number(start),
        exe: process.execPath,
        comm: 'a) R (b',
        auxRandom: stringFact(facts, 'auxRandom'),
      })
    })
  })

  it('names a live thread where the main one has ended', async () => {
    await withVictim('zombie-leader', [], async ({ pid, facts }) => {
      const target = examineTarget(pid)
      const live = numbersFact(facts, 'tids').filter((tid) => tid !== pid)
      expect(live).toContain(target.tid)
      expect([target.exe, target.auxRandom.length]).toEqual([process.execPath, 32])
    })
  })

  it('refuses what is not there, what is a thread, and us', async () => {
    refused('NO_SUCH_PROCESS', NO_PROCESS)
    refused('OWN_PROCESS', process.pid)
    refused('OWN_PROCESS', Math.max(...taskStates(process.pid).keys()))
    await withVictim('threads', ['--threads', '2'], async ({ pid, facts }) => {
      const tid = numbersFact(facts, 'tids').at(-1) ?? 0
      expect(() => examineTarget(tid)).toThrow(`is a thread of process ${String(pid)}; give that number`)
      refused('NO_SUCH_PROCESS', tid)
    })
  })

  it('refuses our ancestors', () => {
    refused('OWN_PIPELINE', process.ppid)
    refused(
      'OWN_PIPELINE',
      readStat(process.ppid)?.ppid === 0 ? process.ppid : (readStat(process.ppid)?.ppid ?? 0),
    )
  })

  itIf(kernelThread !== undefined, 'no kernel thread is to be seen here')('refuses a kernel thread', () => {
    refused('KERNEL_THREAD', kernelThread ?? 0)
  })

  it('refuses a zombie', async () => {
    // The shell becomes sleep, which never waits for the shell's child.
    const parent = spawn('/bin/sh', ['-c', 'true & exec sleep 60'], { stdio: 'ignore' })
    const pid = parent.pid ?? 0
    try {
      const child = (): number =>
        Number(readFileSync(`/proc/${String(pid)}/task/${String(pid)}/children`, 'latin1').trim())
      await waitUntil('the child to end', () => child() > 0 && readStat(child())?.state === 'Z')
      expect(() => examineTarget(child())).toThrow(expect.objectContaining(refusal('ZOMBIE', child())))
    } finally {
      parent.kill('SIGKILL')
      await new Promise((resolve) => parent.once('close', resolve))
    }
  })

  it('refuses one that is traced already, and names the tracer', async () => {
    await withVictim('plain', [], async ({ pid }) => {
      await withSeizer(async (seizer) => {
        await seizer.stop(pid)
        expect(() => examineTarget(pid)).toThrow(`is traced by process`)
        expect(() => examineTarget(pid)).toThrow(expect.objectContaining(refusal('ALREADY_TRACED', pid)))
        await seizer.release()
      })
      expect(examineTarget(pid).pid).toBe(pid)
    })
  })

  itIf(runs32Bit, 'this machine starts no 32-bit programs')('refuses a 32-bit process', async () => {
    await withVictim('elf32', [], async ({ pid }) => {
      refused('NOT_64_BIT', pid)
    })
  })

  itIf(isRoot, 'only root can start a process of another user')(
    'takes a process of another user, for root',
    async () => {
      await withVictim(
        'plain',
        [],
        async ({ pid }) => {
          expect(examineTarget(pid).auxRandom).toHaveLength(32)
        },
        { uid: NOBODY },
      )
    },
  )
})

describe('confirming a target', () => {
  it('passes while it is the same, and fails when it has ended', async () => {
    await withVictim('plain', [], async ({ pid, stop }) => {
      const target = examineTarget(pid)
      expect(() => confirmIdentity(target)).not.toThrow()
      await stop()
      expect(() => confirmIdentity(target)).toThrow(expect.objectContaining(refusal('TARGET_DIED', pid)))
    })
  })

  it('fails when it has become another program under the same number', async () => {
    const child = spawn('/bin/sh', ['-c', 'read _; exec sleep 60'], { stdio: ['pipe', 'ignore', 'ignore'] })
    const pid = child.pid ?? 0
    try {
      await waitUntil('the shell to start', () => readStat(pid)?.comm === 'sh')
      const target = examineTarget(pid)
      expect(() => confirmIdentity(target)).not.toThrow()
      child.stdin.write('\n')
      await waitUntil('the shell to become sleep', () => readStat(pid)?.comm === 'sleep')
      expect(readStat(pid)?.startTimeTicks).toBe(target.startTimeTicks)
      expect(() => confirmIdentity(target)).toThrow(expect.objectContaining(refusal('TARGET_CHANGED', pid)))
    } finally {
      child.kill('SIGKILL')
      await new Promise((resolve) => child.once('close', resolve))
    }
  })

  it('fails when the number belongs to another process by now', async () => {
    await withVictim('plain', [], async ({ pid }) => {
      const target = examineTarget(pid)
      const older = { ...target, startTimeTicks: target.startTimeTicks - 1 }
      expect(() => confirmIdentity(older)).toThrow(expect.objectContaining(refusal('TARGET_CHANGED', pid)))
    })
  })
})
