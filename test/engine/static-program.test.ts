/** A program that has no page of a file that it has changed and may not write: statically linked, no relocated data. */
import { join } from 'node:path'
import { expect, it } from '@jest/globals'
import { dump, type DumpResult } from '../../src/index.js'
import { expectChainEqualsProcess } from '../support/chain-oracle.js'
import { kernelUser, NO_KERNEL_USER } from '../support/kernel-user.js'
import { describeIf, hasSoftDirty } from '../support/privileges.js'
import { resume, suspend } from '../support/processes.js'
import { hasCompiler } from '../support/self-checking.js'
import { withTempDir } from '../support/tool.js'

const run = kernelUser(['-static', '-Wl,-z,norelro'])

describeIf(hasCompiler && hasSoftDirty(), `${NO_KERNEL_USER} and soft-dirty tracking`)(
  'a static program tracked by soft-dirty',
  () => {
    it('gets increments', async () => {
      await withTempDir(async (folder) => {
        await run([], async ({ pid, request }) => {
          const take = (name: string, parent?: string): Promise<DumpResult> =>
            dump({
              ...{ pid, tracker: 'soft-dirty', trackMem: true, sync: false, imagesDir: join(folder, name) },
              ...{ maxFrozenMs: 300_000, timeoutMs: 300_000 },
              ...(parent === undefined ? {} : { prevImagesDir: `../${parent}` }),
            })
          await take('1')
          await request('write 10')
          await suspend(pid)
          const { fullBecause, pagesInParent } = await take('2', '1')
          expect(fullBecause).toBe('')
          expect(pagesInParent).toBeGreaterThan(200)
          expect(expectChainEqualsProcess(join(folder, '2'), pid).holes).toBe(pagesInParent)
          await resume(pid)
        })
      })
    })
  },
)
