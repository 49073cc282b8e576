import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { describe, expect, it } from '@jest/globals'
import { hasPtraceCapability, permissionError, yamaScope } from '../../src/kernel/permission.js'
import { isRoot, itIf, NOBODY } from '../support/privileges.js'
import { withVictim } from '../support/victim.js'
import { asNobody, asNobodyElsewhere, asOurselves } from './as-user.js'
import { withNamedProcess } from './named-victim.js'

/** Whether a user without rights may make a user namespace. */
const canUnshare = isRoot && spawnSync('unshare', ['-U', 'true'], { uid: NOBODY, gid: NOBODY }).status === 0

const itAsNobody = itIf(isRoot, 'only root can start a process of another user')

describe('why a process may not be traced', () => {
  itAsNobody('is its user, for an ordinary user and a process of root', async () => {
    await withVictim('plain', [], async ({ pid }) => {
      const reason = `process ${String(pid)} may not be traced: it runs as uid 0, you as ${String(NOBODY)}; run as root or as that user`
      expect(await asNobody(['deny', pid])).toEqual({ message: reason, capable: false })
      expect(await asNobody(['open', pid])).toMatchObject({ code: 'EACCES' })
      expect(await asNobody(['seize', pid])).toMatchObject({ code: 'PERMISSION_DENIED' })
    })
  })

  itAsNobody('is its group, for the same user with another one', async () => {
    await withVictim(
      'plain',
      [],
      async ({ pid }) => {
        const { message } = await asNobody(['deny', pid], 1)
        expect(message).toMatch(
          new RegExp(`its group is ${String(NOBODY)}, yours 1; run as root or with that group$`),
        )
        expect(await asNobody(['open', pid], 1)).toMatchObject({ code: 'EACCES' })
      },
      { uid: NOBODY },
    )
  })

  itAsNobody('is that it is not dumpable, for the same user and group', async () => {
    await withNamedProcess(
      ['--undumpable'],
      async ({ pid }) => {
        expect((await asNobody(['deny', pid])).message).toMatch(/it is not dumpable .*; run as root$/)
        expect(await asNobody(['open', pid])).toMatchObject({ code: 'EACCES' })
        expect(await asOurselves(['open', pid])).toEqual({ opened: true })
      },
      { uid: NOBODY },
    )
  })

  itIf(canUnshare, 'needs root, and user namespaces for everybody')(
    'is that it is in another user namespace, whatever the ids look like there',
    async () => {
      for (const uid of [0, NOBODY]) {
        await withVictim(
          'plain',
          [],
          async ({ pid }) => {
            expect(await asNobodyElsewhere(['open', pid])).toMatchObject({ code: 'EACCES' })
            const { message } = await asNobodyElsewhere(['deny', pid])
            expect(message).toMatch(/it is in another user namespace.*; run as root outside of it$/)
          },
          { uid },
        )
      }
    },
  )

  itAsNobody('is nothing of that for a process of the same user that it may trace', async () => {
    await withVictim(
      'plain',
      [],
      async ({ pid }) => {
        expect(await asNobody(['open', pid])).toEqual({ opened: true })
        expect(await asNobody(['seize', pid])).toEqual({ seized: true })
      },
      { uid: NOBODY },
    )
  })

  itAsNobody('is none of these for root, who learns of security modules', async () => {
    await withVictim('plain', [], async ({ pid }) => {
      const error = permissionError(pid, new Error('EACCES'))
      expect(error).toMatchObject({ code: 'PERMISSION_DENIED', details: { pid, errno: 'EPERM' } })
      expect(error.message).toContain('a security module')
      expect(error.cause).toMatchObject({ message: 'EACCES' })
    })
  })
})

describe('the rights of this process', () => {
  it('are told as its status does', () => {
    const mask = /^CapEff:\s*([0-9a-f]+)$/m.exec(readFileSync('/proc/self/status', 'latin1'))?.[1] ?? '0'
    // source: include/uapi/linux/capability.h CAP_SYS_PTRACE 19
    expect(hasPtraceCapability()).toBe(Math.floor(Number(BigInt(`0x${mask}`) >> 19n)) % 2 === 1)
  })

  it('are bounded by Yama as far as the kernel has it', () => {
    let scope: number | undefined
    try {
      scope = Number(readFileSync('/proc/sys/kernel/yama/ptrace_scope', 'latin1').trim())
    } catch {
      scope = undefined
    }
    expect(yamaScope()).toBe(scope)
  })
})
