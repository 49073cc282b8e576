import { describe, expect, it } from '@jest/globals'
import { newProcesses, refuseSharedMemory } from '../../src/kernel/mm-sharing.js'
import { listProcesses } from '../../src/kernel/procfs.js'
import { numberFact } from '../support/facts.js'
import { isRoot, itIf, NOBODY } from '../support/privileges.js'
import { waitUntilGone } from '../support/processes.js'
import { withVictim } from '../support/victim.js'
import { asNobody } from './as-user.js'

const itAsNobody = itIf(isRoot, 'only root can start a process of another user')

describe('a process that shares the memory of the target', () => {
  it.each([
    ['by clone', []],
    ['as the child of a vfork', ['--vfork']],
  ])('is found: %s', async (_name, args) => {
    await withVictim('shared-mm', args, async ({ pid, facts, request }) => {
      const otherPid = numberFact(facts, 'otherPid')
      const error = { code: 'SHARED_MM', details: { pid } }
      expect(() => refuseSharedMemory(pid, pid, listProcesses())).toThrow(expect.objectContaining(error))
      expect(() => refuseSharedMemory(pid, pid, [pid, otherPid])).toThrow(
        `process ${String(otherPid)} shares the memory of process ${String(pid)}`,
      )
      await request('release')
      await waitUntilGone(otherPid)
      expect(() => refuseSharedMemory(pid, pid, [...listProcesses(), otherPid])).not.toThrow()
    })
  })

  it('is neither the target itself, nor one that has only forked, nor a stranger, nor one that is gone', async () => {
    await withVictim('plain', [], async ({ pid, request }) => {
      const forked = numberFact(await request('fork'), 'pid')
      const others = [pid, forked, process.pid, 1, 2 ** 22]
      expect(() => refuseSharedMemory(pid, pid, others)).not.toThrow()
      expect(() => refuseSharedMemory(pid, pid, [])).not.toThrow()
    })
  })

  itAsNobody('is found by a user who may trace both', async () => {
    await withVictim(
      'shared-mm',
      [],
      async ({ pid, facts }) => {
        const found = await asNobody(['sharing', pid, numberFact(facts, 'otherPid')])
        expect(found).toMatchObject({ code: 'SHARED_MM' })
      },
      { uid: NOBODY },
    )
  })

  itAsNobody('is guessed by its size where the kernel does not compare them for us', async () => {
    await withVictim('shared-mm', [], async ({ pid, facts }) => {
      const found = await asNobody(['sharing', pid, numberFact(facts, 'otherPid')])
      expect(found).toMatchObject({ code: 'SHARED_MM' })
      expect(await asNobody(['sharing', pid, 1])).toEqual({ shared: false })
    })
  })
})

describe('new processes', () => {
  it('are those that were not there before', async () => {
    const before = new Set(listProcesses())
    await withVictim('plain', [], async ({ pid }) => {
      expect(newProcesses(before)).toContain(pid)
      expect(newProcesses(new Set(listProcesses()))).not.toContain(pid)
      expect(newProcesses(before).filter((each) => before.has(each))).toEqual([])
    })
  })
})
