import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { expect, it } from '@jest/globals'
import { numberFact } from '../support/facts.js'
import { withLoneVictim } from '../support/lone-victim.js'
import { describeIf } from '../support/privileges.js'
import { suspend, waitUntilGone } from '../support/processes.js'
import { dumpResult } from '../support/snapshots.js'
import { withTempDir } from '../support/tool.js'
import { criu, criuObstacle, criuStats, critEntries, decodableImages, replacePages, restore } from './criu.js'

const obstacle = criuObstacle()

/** Calls `use` with two empty folders, for the images of each tool. */
async function withFolders(use: (ours: string, theirs: string) => Promise<void>): Promise<void> {
  await withTempDir(async (directory) => {
    const [ours, theirs] = [join(directory, 'tidemark'), join(directory, 'criu')]
    mkdirSync(ours)
    mkdirSync(theirs)
    await use(ours, theirs)
  })
}

describeIf(obstacle === undefined, obstacle ?? '')('CRIU and Tidemark, on one stopped process', () => {
  it('restores it from its own images, as far as this test can tell', async () => {
    await withFolders(async (_, theirs) => {
      await withLoneVictim('plain', ['--gap'], async ({ pid, request }) => {
        const before = await request('checksum')
        await suspend(pid)
        await criu('dump', theirs, ['-t', String(pid)])
        await waitUntilGone(pid)
        await restore(theirs, pid)
        expect(await request('checksum')).toEqual(before)
      })
    })
  })

  it.each([
    ['10 VMAs', ['--gap']],
    ['300 VMAs that touch', ['--vmas', '300', '--pages-per-vma', '5']],
    ['huge pages', ['--vmas', '2', '--pages-per-vma', '1024', '--thp']],
  ])('restores a process with %s from the pages that Tidemark stored', async (_, args) => {
    await withFolders(async (ours, theirs) => {
      await withLoneVictim('plain', args, async ({ pid, request }) => {
        const before = await request('checksum')
        await suspend(pid)
        await dumpResult(pid, ours)
        await criu('dump', theirs, ['-t', String(pid)])
        await waitUntilGone(pid)
        replacePages(pid, ours, theirs)
        await restore(theirs, pid)
        expect(await request('checksum')).toEqual(before)
        await request('touch 7')
        expect(await request('checksum')).not.toEqual(before)
      })
    })
  })

  it('reads every image that Tidemark wrote, with the counts of its own', async () => {
    await withFolders(async (ours, theirs) => {
      await withLoneVictim('plain', ['--gap'], async ({ pid }) => {
        await suspend(pid)
        const result = await dumpResult(pid, ours)
        const images = decodableImages(ours)
        const decoded = await critEntries(images)
        expect(images.filter((_, index) => decoded[index]?.length === 0)).toEqual([])
        await criu('dump', theirs, ['-t', String(pid), '--leave-stopped'])
        const written = numberFact(await criuStats(ours), 'pages_written')
        expect(written).toBe(numberFact(result, 'pagesStored'))
        // CRIU runs code inside the process: the page of the program that it patches for that is one more.
        const byCriu = numberFact(await criuStats(theirs), 'pages_written')
        expect([written, written + 1]).toContain(byCriu)
      })
    })
  })
})
