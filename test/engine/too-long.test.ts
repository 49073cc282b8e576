import { join } from 'node:path'
import { expect, it } from '@jest/globals'
import { takeSnapshot } from '../../src/engine/dump.js'
import { settle } from '../../src/engine/options.js'
import { messageOf } from '../../src/errors.js'
import { isStopped } from '../support/processes.js'
import { withTempDir } from '../support/tool.js'
import { expectUnharmed } from '../support/unharmed.js'
import { withVictim } from '../support/victim.js'

const MAX_FROZEN_MS = 1500

it('a target that stands too long is named, with what would help, and warned of before it stands', async () => {
  await withTempDir(async (directory) => {
    await withVictim('plain', ['--vmas', '2', '--pages-per-vma', '4096'], async (victim) => {
      const said: string[] = []
      const options = {
        pid: victim.pid,
        imagesDir: join(directory, 'images'),
        sync: false,
        capture: 'copy',
        maxMemory: 2 ** 22,
        maxFrozenMs: MAX_FROZEN_MS,
        onWarning: (warning: string) => said.push(warning),
      } as const
      const call = takeSnapshot({
        ...settle(options, 'dump'),
        onStep: (step) => {
          said.push(step)
          while (step === 'held' && isStopped(victim.pid)) continue
        },
      })
      const error: unknown = await call.catch((reason: unknown) => reason)
      expect(error).toMatchObject({ code: 'FROZEN_TOO_LONG', details: { pid: victim.pid } })
      const message = messageOf(error)
      const excess = /\b(\d+) MiB of (\d+) MiB exceed --max-memory/
      const [, over, whole] = (excess.exec(message) ?? []).map(Number)
      expect(message).toContain(`process ${String(victim.pid)} `)
      expect(over).toBe((whole ?? 0) - 4)
      expect(Number(/--max-memory (\d+)M/.exec(message)?.[1])).toBeGreaterThan(whole ?? Infinity)
      expect(message).toMatch(/--capture fork, or .*--max-frozen$/)
      const warned = said.findIndex((line) => excess.test(line))
      expect(warned).toBeGreaterThan(0)
      expect(warned).toBeLessThan(said.indexOf('held'))
      await expectUnharmed(victim)
    })
  })
})
