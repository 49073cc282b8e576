import { once } from 'node:events'
import { MessageChannel, receiveMessageOnPort, Worker } from 'node:worker_threads'
import { describe, expect, it } from '@jest/globals'
import { allocateControl, FREEZER, FREEZER_STATE } from '../../src/tasks/control.js'
import type { FreezerMessage, HoldRequest } from '../../src/tasks/hold-target.js'
import { monotonicMicros } from '../../src/kernel/clock.js'
import { numberFact } from '../support/facts.js'
import { resume, suspend, taskStates, waitUntil } from '../support/processes.js'
import { withVictim, type Victim } from '../support/victim.js'

const FOREVER_MS = 60_000

/** The coordinator's end of one freezer. */
interface Hold {
  readonly state: () => number
  readonly setState: (state: number) => void
  /** Asks for the freeze and resolves when the thread has answered. */
  readonly ask: (request: Partial<HoldRequest>) => Promise<FreezerMessage>
  /** The next message; undefined where there is none. */
  readonly message: () => FreezerMessage | undefined
  /** Resolves when the thread has ended by itself. */
  readonly ended: Promise<unknown>
  readonly terminate: () => Promise<unknown>
}

/** Runs `use` with a freezer that is ready to hold `victim`; it ends with the test. */
async function withHold(victim: Victim, use: (hold: Hold) => Promise<void>): Promise<void> {
  const control = allocateControl(FREEZER.words)
  const { port1, port2 } = new MessageChannel()
  const worker = new Worker(new URL('../../workers/freezer.js', import.meta.url), {
    workerData: { control, port: port2 },
    transferList: [port2],
  })
  const ended = once(worker, 'exit')
  const failed = new Promise<never>((_resolve, reject) => worker.once('error', reject))
  const state = (): number => Atomics.load(control, FREEZER.state)
  const setState = (value: number): void => {
    Atomics.store(control, FREEZER.state, value)
    Atomics.notify(control, FREEZER.state)
  }
  const message = (): FreezerMessage | undefined => {
    const received: { message: FreezerMessage } | undefined = receiveMessageOnPort(port1)
    return received?.message
  }
  const ask = async (request: Partial<HoldRequest>): Promise<FreezerMessage> => {
    await waitUntil('the freezer to be ready', () => state() === FREEZER_STATE.ready)
    const defaults = { seizeTimeoutMs: 20_000, maxFrozenMs: FOREVER_MS, leaveStopped: false }
    port1.postMessage({ pid: victim.pid, freezerState: undefined, ...defaults, ...request })
    setState(FREEZER_STATE.seizing)
    await waitUntil('the freezer to answer', () => state() !== FREEZER_STATE.seizing)
    const answer = message()
    if (answer === undefined) throw new Error('the freezer said nothing')
    return answer
  }
  try {
    await Promise.race([
      failed,
      use({ state, setState, ask, message, ended, terminate: () => worker.terminate() }),
    ])
  } finally {
    await worker.terminate()
    port1.close()
  }
}

function states(pid: number): string[] {
  return [...new Set(taskStates(pid).values())].sort()
}

async function untilReleased(pid: number): Promise<void> {
  await waitUntil('the target to run', () => !states(pid).includes('t'))
}

async function answers(victim: Victim): Promise<boolean> {
  return (await victim.request('ping')).pong === true
}

describe('the thread that holds a target', () => {
  it('holds it until it is told to let go, tells when, and ends', async () => {
    await withVictim('threads', ['--threads', '10', '--spin', '1'], async (victim) => {
      await withHold(victim, async (hold) => {
        const before = monotonicMicros()
        const held = await hold.ask({})
        expect(held).toMatchObject({ kind: 'held', wasStopped: false })
        expect(hold.state()).toBe(FREEZER_STATE.held)
        expect(states(victim.pid)).toEqual(['t'])
        if (held.kind !== 'held') return
        expect(new Set(held.threads)).toEqual(new Set(taskStates(victim.pid).keys()))
        hold.setState(FREEZER_STATE.releasing)
        await waitUntil('the release', () => hold.state() === FREEZER_STATE.released)
        const released = hold.message()
        expect(released?.kind).toBe('released')
        const releasedMicros = released?.kind === 'released' ? released.releasedMicros : NaN
        const times = [before, held.begunMicros, held.heldMicros, releasedMicros, monotonicMicros()]
        expect([...times].sort((a, b) => a - b)).toEqual(times)
        await untilReleased(victim.pid)
        await hold.ended
      })
      expect(await answers(victim)).toBe(true)
    })
  })

  it('lets go on its own deadline though nobody asks', async () => {
    await withVictim('threads', ['--threads', '10'], async (victim) => {
      await withHold(victim, async (hold) => {
        expect(await hold.ask({ maxFrozenMs: 30 })).toMatchObject({ kind: 'held' })
        await waitUntil('the deadline', () => hold.state() === FREEZER_STATE.expired)
        await untilReleased(victim.pid)
        await waitUntil('the message', () => hold.message()?.kind === 'released')
        await hold.ended
      })
      expect(await answers(victim)).toBe(true)
    })
  })

  it('lets go at once where the deadline has passed already', async () => {
    await withVictim('plain', [], async (victim) => {
      await withHold(victim, async (hold) => {
        await hold.ask({ maxFrozenMs: 0 })
        await waitUntil('the deadline', () => hold.state() === FREEZER_STATE.expired)
      })
      expect(await answers(victim)).toBe(true)
    })
  })

  it('leaves it stopped by a signal where it is asked to', async () => {
    await withVictim('threads', ['--threads', '10', '--spin', '1'], async (victim) => {
      await withHold(victim, async (hold) => {
        await hold.ask({ leaveStopped: true })
        hold.setState(FREEZER_STATE.releasing)
        await hold.ended
      })
      await waitUntil('the stop by signal', () => states(victim.pid).join() === 'T')
      await resume(victim.pid)
      expect(await answers(victim)).toBe(true)
    })
  })

  it.each([
    ['its coordinator failed', FREEZER_STATE.abandoned, FOREVER_MS],
    ['its deadline came', FREEZER_STATE.held, 20],
  ])('leaves nothing stopped where %s, even so', async (_name, state, maxFrozenMs) => {
    await withVictim('threads', ['--threads', '3'], async (victim) => {
      await withHold(victim, async (hold) => {
        await hold.ask({ leaveStopped: true, maxFrozenMs })
        if (state === FREEZER_STATE.abandoned) hold.setState(state)
        await hold.ended
      })
      await untilReleased(victim.pid)
      expect(states(victim.pid)).not.toContain('T')
      expect(await answers(victim)).toBe(true)
    })
  })

  it('tells that the target was stopped before, and leaves it so', async () => {
    await withVictim('plain', [], async (victim) => {
      await suspend(victim.pid)
      await withHold(victim, async (hold) => {
        expect(await hold.ask({})).toMatchObject({ kind: 'held', wasStopped: true })
        hold.setState(FREEZER_STATE.releasing)
        await hold.ended
      })
      await waitUntil('the stop by signal', () => states(victim.pid).join() === 'T')
      await resume(victim.pid)
      expect(await answers(victim)).toBe(true)
    })
  })

  it('tells why it could not hold the target, and ends, so that a thread in vfork is free again', async () => {
    await withVictim('shared-mm', ['--vfork'], async (victim) => {
      await withHold(victim, async (hold) => {
        const answer = await hold.ask({ seizeTimeoutMs: 30 })
        expect(answer).toMatchObject({
          kind: 'failed',
          error: { code: 'SEIZE_TIMEOUT', details: { pid: victim.pid } },
        })
        expect(hold.state()).toBe(FREEZER_STATE.failed)
        await hold.ended
      })
      process.kill(numberFact(victim.facts, 'otherPid'), 'SIGKILL')
      await waitUntil('the thread to leave vfork', () => !/[Dt]/.test(states(victim.pid).join()))
      expect(await answers(victim)).toBe(true)
    })
  })

  it('lets go when it is ended from outside', async () => {
    await withVictim('threads', ['--threads', '10'], async (victim) => {
      await withHold(victim, async (hold) => {
        await hold.ask({})
        expect(states(victim.pid)).toEqual(['t'])
        await hold.terminate()
        await untilReleased(victim.pid)
      })
      expect(await answers(victim)).toBe(true)
    })
  })

  it('ends without having held anybody where the freeze never comes', async () => {
    await withVictim('plain', [], async (victim) => {
      await withHold(victim, async (hold) => {
        await waitUntil('the freezer to be ready', () => hold.state() === FREEZER_STATE.ready)
        hold.setState(FREEZER_STATE.abandoned)
        await hold.ended
        expect(hold.message()).toBeUndefined()
      })
      expect(await answers(victim)).toBe(true)
    })
  })
})
