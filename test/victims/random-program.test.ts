import { existsSync, readFileSync } from 'node:fs'
import { expect, it } from '@jest/globals'
import { type Facts, isFacts, listFact, numberFact } from '../support/facts.js'
import { describeIf, itIf } from '../support/privileges.js'
import { canRunRandomProgram, NO_RANDOM_PROGRAM, randomProgram } from '../support/random-program.js'
import type { Victim } from '../support/victim.js'

const STEPS = 5000
const MAX_RESIDENT_KB = 64 * 1024
const THP_MODE = modeOf('/sys/kernel/mm/transparent_hugepage/enabled')

describeIf(canRunRandomProgram, NO_RANDOM_PROGRAM)('the random program', () => {
  const program = randomProgram()

  it.each([
    ['with huge pages', true, [1, 2]],
    ['without huge pages', false, [3, 4]],
  ])('lives through 10,000 steps %s', async (_, hugePages, seeds) => {
    await program.run(hugePages, async (victim) => {
      for (const seed of seeds) {
        const performed = await stepCounts(victim, seed)
        const never = Object.keys(performed).filter((name) => performed[name] === 0)
        expect(never).toEqual([])
        expect(peakResidentKb(victim.pid)).toBeLessThan(MAX_RESIDENT_KB)
      }
      expect(numberFact(await victim.request('history 0x1000'), 'steps')).toBe(seeds.length * STEPS)
    })
  })

  it('does the same again with the same seed', async () => {
    const runs = [1, 2].map(() => program.run(false, (victim) => victim.request('step 2000 77')))
    const [first, second] = await Promise.all(runs)
    expect(second?.performed).toEqual(first?.performed)
  })

  it('tells which steps may have changed a page', async () => {
    await program.run(true, async (victim) => {
      await victim.request('step 500 5')
      const stack = /^([0-9a-f]+)-.*\[stack\]$/m.exec(readFileSync(`/proc/${victim.pid}/maps`, 'latin1'))
      const history = listFact(await victim.request(`history 0x${stack?.[1] ?? ''}`), 'history')
      expect(history.some((line) => / (stack|fork|truncate) /.test(String(line)))).toBe(true)
    })
  })

  itIf(!THP_MODE.includes('[never]'), 'huge pages are switched off')(
    'gets huge pages where it may, and none where not',
    async () => {
      const [allowed = 0, denied] = await Promise.all(
        [true, false].map((may) => program.run(may, hugePagesSeen)),
      )
      expect(allowed).toBeGreaterThan(0)
      expect(denied).toBe(0)
    },
  )
})

/** Steps done, by kind. */
async function stepCounts(victim: Victim, seed: number): Promise<Facts> {
  const { performed } = await victim.request(`step ${STEPS} ${seed}`)
  return isFacts(performed) ? performed : {}
}

/** The most anonymous huge memory, in KiB, seen after 20 rounds of steps. */
async function hugePagesSeen(victim: Victim): Promise<number> {
  let most = 0
  for (let seed = 0; seed < 20; seed += 1) {
    await victim.request(`step 100 ${seed}`)
    const rollup = readFileSync(`/proc/${victim.pid}/smaps_rollup`, 'latin1')
    most = Math.max(most, Number(/^AnonHugePages:\s+(\d+)/m.exec(rollup)?.[1]))
  }
  return most
}

function peakResidentKb(pid: number): number {
  return Number(/^VmHWM:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))?.[1])
}

/** What the kernel says in `path`, or `[never]` where it has no such file. */
function modeOf(path: string): string {
  return existsSync(path) ? readFileSync(path, 'latin1') : '[never]'
}
