import { describe, expect, it } from '@jest/globals'
import { Freezer } from '../../src/engine/freezer.js'
import { userfaultfdsOf } from '../support/descriptors.js'
import { describeIf } from '../support/privileges.js'
import { isStopped, waitUntil } from '../support/processes.js'
import { hasCompiler, withSelfChecking } from '../support/self-checking.js'
import { expectUnharmed } from '../support/unharmed.js'
import { type Victim, withVictim } from '../support/victim.js'
import { codeOf } from '../../src/errors.js'

const FOREVER_MS = 60_000

/** Runs `use` with a freezer that holds `pid`. */
async function withHeld(
  pid: number,
  maxFrozenMs: number,
  use: (freezer: Freezer) => void | Promise<void>,
): Promise<void> {
  const freezer = await Freezer.start()
  try {
    const request = { pid, seizeTimeoutMs: 20_000, maxFrozenMs, freezerState: undefined, leaveStopped: false }
    freezer.freeze(request)
    await use(freezer)
  } finally {
    freezer.letGo()
    await freezer.close()
  }
}

/** Opens and closes descriptors in the held target until it fails; the code of that failure. */
function openUntilFailure(freezer: Freezer): string | undefined {
  try {
    for (;;) freezer.closeDescriptor(freezer.openUserfaultfd())
  } catch (error) {
    return codeOf(error)
  }
}

describe('an order to the thread that holds a target', () => {
  it('opens a userfaultfd inside it, and closes it, while it stands', async () => {
    await withVictim('threads', ['--threads', '10', '--spin', '1'], async (victim: Victim) => {
      await withHeld(victim.pid, FOREVER_MS, (freezer) => {
        const fds = [freezer.openUserfaultfd(), freezer.openUserfaultfd()]
        expect(new Set(userfaultfdsOf(victim.pid))).toEqual(new Set(fds))
        for (const fd of fds) freezer.closeDescriptor(fd)
        expect(userfaultfdsOf(victim.pid)).toEqual([])
        expect([freezer.holds, isStopped(victim.pid)]).toEqual([true, true])
        expect(freezer.thaw(FOREVER_MS)).toBeGreaterThan(0)
      })
      await expectUnharmed(victim)
    })
  })

  it('that fails leaves it held, and fit for the next', async () => {
    await withVictim('plain', [], async (victim) => {
      await withHeld(victim.pid, FOREVER_MS, (freezer) => {
        const close = (): void => {
          freezer.closeDescriptor(99_999)
        }
        const details = { pid: victim.pid, syscall: 'close', errno: 'EBADF' }
        expect(close).toThrow(expect.objectContaining({ code: 'SYSCALL_FAILED', details }))
        freezer.closeDescriptor(freezer.openUserfaultfd())
        expect(freezer.holds).toBe(true)
        freezer.thaw(FOREVER_MS)
      })
      await expectUnharmed(victim)
    })
  })

  it('after the deadline is refused with that of the freeze', async () => {
    await withVictim('plain', [], async (victim) => {
      await withHeld(victim.pid, 30, async (freezer) => {
        await waitUntil('the deadline', () => !freezer.holds)
        expect(() => freezer.openUserfaultfd()).toThrow(expect.objectContaining({ code: 'FROZEN_TOO_LONG' }))
      })
      expect(userfaultfdsOf(victim.pid)).toEqual([])
      await expectUnharmed(victim)
    })
  })

  it('that the deadline meets is carried out or refused, never lost', async () => {
    await withVictim('threads', ['--threads', '3'], async (victim) => {
      for (let round = 0; round < 12; round += 1) {
        await withHeld(victim.pid, 5 + 4 * round, (freezer) => {
          expect(openUntilFailure(freezer)).toBe('FROZEN_TOO_LONG')
        })
        // The last one opened may stay: its closing came too late.
        expect(userfaultfdsOf(victim.pid).length).toBeLessThanOrEqual(round + 1)
      }
      await expectUnharmed(victim)
    })
  })
})

describe('work that needs the target to stand', () => {
  it('is not cut short by the deadline, and not begun after it', async () => {
    await withVictim('plain', [], async (victim) => {
      await withHeld(victim.pid, 50, async (freezer) => {
        let stood = false
        const isDone = freezer.steadily(() => {
          for (const end = performance.now() + 200; performance.now() < end;) stood = isStopped(victim.pid)
        })
        expect([isDone, stood]).toEqual([true, true])
        await waitUntil('the deadline', () => !freezer.holds)
        const begin = (): void => {
          throw new Error('begun after the deadline')
        }
        expect(freezer.steadily(begin)).toBe(false)
      })
      await expectUnharmed(victim)
    })
  })

  it('that fails leaves it held until it is let go', async () => {
    await withVictim('plain', [], async (victim) => {
      await withHeld(victim.pid, FOREVER_MS, (freezer) => {
        const fail = (): void => {
          throw new Error('failed')
        }
        expect(() => freezer.steadily(fail)).toThrow('failed')
        expect([freezer.holds, isStopped(victim.pid)]).toEqual([true, true])
        freezer.thaw(FOREVER_MS)
      })
      await expectUnharmed(victim)
    })
  })
})

describeIf(hasCompiler, 'needs gcc')('an order that is refused', () => {
  it('is thrown in the coordinator, and the target stays held until it is let go', async () => {
    await withSelfChecking({ mode: 'no-vdso' }, async (victim) => {
      await withHeld(victim.pid, FOREVER_MS, (freezer) => {
        const refusal = {
          code: 'INJECTION_REFUSED',
          details: { pid: victim.pid, reason: 'it has no vdso' },
        }
        expect(() => freezer.openUserfaultfd()).toThrow(expect.objectContaining(refusal))
        expect([freezer.holds, isStopped(victim.pid)]).toEqual([true, true])
        freezer.thaw(FOREVER_MS)
      })
      await victim.expectRight()
    })
  })
})
