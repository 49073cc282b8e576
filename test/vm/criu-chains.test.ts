/**
 * Chains of Tidemark's and CRIU's making, each read by the other.
 *
 *   Tidemark ◀─ Tidemark ◀─ Tidemark      crit decode, criu dedup
 *   Tidemark ◀─ criu dump                 pre-dump as a parent; restored
 *   criu pre-dump ◀─ Tidemark             full, or by CRIU's word
 *   Tidemark ◀─ Tidemark                  in the place of the pages of criu dump; restored
 */
import { mkdirSync, statSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import { expect, it, jest } from '@jest/globals'
import { dump, preDump, untrack, verify, type DumpOptions, type DumpResult } from '../../src/index.js'
import { expectChainEqualsProcess } from '../support/chain-oracle.js'
import { numberFact } from '../support/facts.js'
import { withLoneVictim, type LoneVictim } from '../support/lone-victim.js'
import { describeIf, hasSoftDirty } from '../support/privileges.js'
import { resume, suspend, waitUntilGone } from '../support/processes.js'
import { withTempDir } from '../support/tool.js'
import { criu, criuObstacle, criuStats, critEntries, decodableImages, replacePages, restore } from './criu.js'

const obstacle = criuObstacle() ?? (hasSoftDirty() ? undefined : 'this kernel has no soft-dirty tracking')

/** How links are taken: we do not test the disk, and an emulated machine may take its time. */
const HOW = {
  tracker: 'soft-dirty',
  trackMem: true,
  sync: false,
  maxFrozenMs: 300_000,
  timeoutMs: 300_000,
} as const

jest.setTimeout(400_000)

/** Calls `use` with a lone victim and a folder that has an empty folder for each of `links`. */
async function withLinks(
  links: readonly string[],
  use: (victim: LoneVictim, folder: string) => Promise<void>,
): Promise<void> {
  await withTempDir(async (folder) => {
    for (const link of links) mkdirSync(join(folder, link))
    await withLoneVictim('plain', ['--gap'], (victim) => use(victim, folder))
  })
}

/** Takes link `link` in `folder`, upon the link `parent` if there is one. */
async function takeLink(
  pid: number,
  folder: string,
  link: string,
  parent?: string,
  options: Partial<DumpOptions> = {},
): Promise<DumpResult> {
  const prev = parent === undefined ? {} : { prevImagesDir: `../${parent}` }
  return dump({ pid, imagesDir: join(folder, link), ...HOW, ...prev, ...options })
}

/** Restores from the images in `directory`, and expects the process to be as `before` and to go on. */
async function expectRestored(
  { pid, request }: LoneVictim,
  directory: string,
  before: unknown,
): Promise<void> {
  await waitUntilGone(pid)
  await restore(directory, pid)
  expect(await request('checksum')).toEqual(before)
  await request('touch 7')
  expect(await request('checksum')).not.toEqual(before)
}

describeIf(obstacle === undefined, obstacle ?? '')('CRIU and chains of snapshots', () => {
  it('reads every image of a chain of three, and removes what is twice in it', async () => {
    await withLinks(['1', '2', '3'], async ({ pid, request }, folder) => {
      await takeLink(pid, folder, '1')
      await request('write 30')
      await takeLink(pid, folder, '2', '1')
      await request('write 20')
      const { pagesInParent } = await takeLink(pid, folder, '3', '2', { leaveStopped: true })
      expect(pagesInParent).toBeGreaterThan(0)
      const images = ['1', '2', '3'].flatMap((link) => decodableImages(join(folder, link)))
      const decoded = await critEntries(images)
      expect(images.filter((_, index) => decoded[index]?.length === 0)).toEqual([])
      const blocks = blocksIn(folder, ['1', '2'])
      await criu('dedup', join(folder, '3'), [])
      expect(blocksIn(folder, ['1', '2'])).toBeLessThan(blocks)
      expectChainEqualsProcess(join(folder, '3'), pid)
    })
  })

  it('builds a dump upon a pre-dump of Tidemark, and restores it', async () => {
    await withLinks(['1', 'criu'], async (victim, folder) => {
      const { pid, request } = victim
      await preDump({ pid, imagesDir: join(folder, '1'), ...HOW })
      await request('write 20')
      const before = await request('checksum')
      await suspend(pid)
      const theirs = join(folder, 'criu')
      await criu('dump', theirs, ['-t', String(pid), '--track-mem', '--prev-images-dir', '../1'])
      const stats = await criuStats(theirs)
      // None where CRIU saw no parent in it, or the parent of another process: it says so only in its log.
      expect(numberFact(stats, 'pages_skipped_parent')).toBeGreaterThan(numberFact(stats, 'pages_written'))
      await expectRestored(victim, theirs, before)
    })
  })

  it('can be the parent of a dump by Tidemark, by its word only', async () => {
    await withLinks(['criu1', 'criu2', 'full', 'increment'], async ({ pid, request }, folder) => {
      await criu('pre-dump', join(folder, 'criu1'), ['-t', String(pid), '--track-mem'])
      await request('write 20')
      const full = await takeLink(pid, folder, 'full', 'criu1')
      expect([full.pagesInParent, full.parent]).toEqual([0, undefined])
      expect(full.fullBecause).toContain('written by CRIU')
      // That dump reset the dirty bits too. Whether CRIU's pre-dump came after it nobody can tell: its record must go.
      await untrack({ pid })
      await criu('pre-dump', join(folder, 'criu2'), ['-t', String(pid), '--track-mem'])
      await request('write 30')
      await request('discard 15')
      const how = { trustParent: true, leaveStopped: true }
      const increment = await takeLink(pid, folder, 'increment', 'criu2', how)
      expect(increment).toMatchObject({ fullBecause: '', parent: '../criu2' })
      expect(increment.pagesInParent).toBeGreaterThan(increment.pagesStored)
      const { holes } = expectChainEqualsProcess(join(folder, 'increment'), pid)
      expect(holes).toBe(increment.pagesInParent)
      expect(await verify(join(folder, 'increment'))).toMatchObject({ problems: [] })
      await resume(pid)
    })
  })

  it('restores a process from the pages of a chain of Tidemark', async () => {
    await withLinks(['1', '2', 'criu'], async (victim, folder) => {
      const { pid, request } = victim
      await takeLink(pid, folder, '1')
      await request('write 20')
      await request('discard 15')
      const before = await request('checksum')
      await suspend(pid)
      const { pagesInParent, pagesStored } = await takeLink(pid, folder, '2', '1', { leaveStopped: true })
      expect(pagesInParent).toBeGreaterThan(pagesStored)
      const theirs = join(folder, 'criu')
      await criu('dump', theirs, ['-t', String(pid)])
      replacePages(pid, join(folder, '2'), theirs)
      symlinkSync('../1', join(theirs, 'parent'))
      await expectRestored(victim, theirs, before)
    })
  })
})

/** Blocks of disk that the pages files of `links` in `folder` take. */
function blocksIn(folder: string, links: readonly string[]): number {
  return links.reduce((sum, link) => sum + statSync(join(folder, link, 'pages-1.img')).blocks, 0)
}
