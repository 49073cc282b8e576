import { join } from 'node:path'
import { describe, expect, it } from '@jest/globals'
import { dump, type DumpOptions, type DumpResult } from '../../src/index.js'
import { pageSize } from '../support/kernel-vmas.js'
import { suspend } from '../support/processes.js'
import { digests, expectSameMemory } from '../support/snapshots.js'
import { withTempDir } from '../support/tool.js'
import { withVictim } from '../support/victim.js'

const COMPARED = /^(pagemap-\d+|pages-1|mm-\d+|pstree)\.img$/

const WORKERS: readonly Partial<DumpOptions>[] = [1, 2, 3, 8].map((workers) => ({ workers }))
const SHARDS: readonly Partial<DumpOptions>[] = [32, 1000, 16_384].map((shardPages) => ({
  workers: 2,
  shardPages,
}))
const BUFFERS: readonly Partial<DumpOptions>[] = [1, 3, 16_384].map((pages) => ({
  workers: 2,
  bufferSize: pages * pageSize(),
}))
const BUDGETS: readonly Partial<DumpOptions>[] = [
  ...[0, 2 ** 20, 5 * 2 ** 20 + 1].map((maxMemory) => ({ workers: 3, maxMemory })),
  { workers: 2, maxMemory: 10 * pageSize(), bufferSize: 3 * pageSize() },
  { workers: 2, maxMemory: 2 ** 20, bufferSize: 2 ** 22 },
]

describe('pagemap, pages, mm and pstree', () => {
  it.each([
    ['hard', []],
    ['plain', ['--vmas', '50', '--pages-per-vma', '131', '--gap']],
  ])('of %s are the same bytes for all workers, shards, buffers and memory budgets', async (name, args) => {
    await withTempDir(async (directory) => {
      await withVictim(name, args, async ({ pid }) => {
        await suspend(pid)
        const results: DumpResult[] = []
        const seen = new Map<string, string>()
        for (const [index, options] of [{}, ...WORKERS, ...SHARDS, ...BUFFERS, ...BUDGETS].entries()) {
          const imagesDir = join(directory, String(index))
          const result = await dump({ pid, imagesDir, sync: false, capture: 'copy', ...options })
          const found = digests(imagesDir, COMPARED)
          expect(Object.keys(found)).toHaveLength(4)
          seen.set(JSON.stringify(found), JSON.stringify(options))
          results.push(result)
          if (options.workers !== undefined) expect(result.workers).toHaveLength(options.workers)
          expect(result.stagedBytes + result.streamedBytes).toBe(result.bytesStored)
          expect(result.stagedBytes).toBeLessThanOrEqual(options.maxMemory ?? result.bytesStored)
        }
        expect([...seen.values()]).toHaveLength(1)
        expect(results.filter(({ streamedBytes }) => streamedBytes > 0)).toHaveLength(BUDGETS.length)
        expectSameMemory(pid, join(directory, '0'))
        expectSameMemory(pid, join(directory, String(results.length - 1)))
      })
    })
  })
})
