import {
  mkdirSync,
  readdirSync,
  renameSync,
  rmdirSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from '@jest/globals'

import { ImagesDirectory } from '../../src/image/images-dir.js'
import { encodeManifest, MANIFEST_NAME } from '../../src/image/manifest.js'
import { inFolder, manifestOf, thrownBy } from './fixtures.js'

const FREE = { lock: () => true }
const FILES = [
  { name: 'mm-7.img', bytes: 5 },
  { name: 'pages-1.img', bytes: 4 },
  { name: 'stats-dump', bytes: 3 },
]
const PARTIAL = '.tidemark-partial'

/** A folder as a run leaves it that is killed after it has written everything. */
function killedBeforePublishing(folder: string): void {
  mkdirSync(join(folder, PARTIAL))
  for (const { name, bytes } of FILES) writeFileSync(join(folder, PARTIAL, name), Buffer.alloc(bytes))
  writeFileSync(join(folder, PARTIAL, MANIFEST_NAME), encodeManifest(manifestOf(FILES)))
}

/** The same of a run that made an increment of `folder`/full; returns where. */
function killedIncrement(folder: string): string {
  const snap = join(folder, 'snap')
  mkdirSync(join(folder, 'full'))
  writeFileSync(join(folder, 'full/pages-1.img'), 'old page')
  mkdirSync(snap)
  killedBeforePublishing(snap)
  const manifest = { ...manifestOf(FILES), parent: { link: '../full', snapshotId: '' } }
  writeFileSync(join(snap, PARTIAL, MANIFEST_NAME), encodeManifest(manifest))
  symlinkSync('../full', join(snap, PARTIAL, 'parent'))
  return snap
}

function publish(folder: string, name: string): void {
  renameSync(join(folder, PARTIAL, name), join(folder, name))
}

/** What the next run finds and leaves: it begins, and gives up. */
function takeUp(folder: string): string[] {
  ImagesDirectory.create(folder, FREE).discard()
  return readdirSync(folder).sort()
}

describe('after a killed run, the next', () => {
  it.each([0, 1, 2, 3])('removes all of it when %s of 3 files were in place', async (count) => {
    await inFolder((folder) => {
      writeFileSync(join(folder, 'notes.txt'), '')
      killedBeforePublishing(folder)
      for (const { name } of FILES.slice(0, count)) publish(folder, name)
      expect(takeUp(folder)).toEqual(['notes.txt'])
    })
  })

  it('keeps the snapshot when the marker was in place, with or without the empty folder', async () => {
    await inFolder((folder) => {
      killedBeforePublishing(folder)
      for (const name of [...FILES.map((file) => file.name), MANIFEST_NAME]) publish(folder, name)
      for (const removeFolder of [false, true]) {
        if (removeFolder) rmSync(join(folder, PARTIAL), { recursive: true, force: true })
        expect(thrownBy(() => takeUp(folder))).toMatchObject({ code: 'IMAGES_DIR_IN_USE' })
        expect(FILES.every(({ name }) => readdirSync(folder).includes(name))).toBe(true)
        expect(readdirSync(folder)).toContain(MANIFEST_NAME)
      }
    })
  })

  it.each([false, true])('removes the link to the parent, moved into place (%s) or not', async (isMoved) => {
    await inFolder((folder) => {
      const snap = killedIncrement(folder)
      for (const { name } of FILES) publish(snap, name)
      if (isMoved) publish(snap, 'parent')
      expect(takeUp(snap)).toEqual([])
      expect(readdirSync(join(folder, 'full'))).toEqual(['pages-1.img'])
    })
  })

  it('does not remove a link that leads elsewhere, or a folder of that name, and refuses the directory', async () => {
    for (const put of [
      (path: string): void => symlinkSync('../other', path),
      (path: string): void => {
        mkdirSync(path)
      },
    ]) {
      await inFolder((folder) => {
        const snap = killedIncrement(folder)
        rmSync(join(snap, PARTIAL, 'parent'))
        put(join(snap, 'parent'))
        expect(thrownBy(() => takeUp(snap))).toMatchObject({ code: 'IMAGES_DIR_IN_USE' })
        expect(readdirSync(snap)).toEqual(['parent'])
      })
    }
  })

  it('does not take a link for its own that was there while its own had not moved', async () => {
    await inFolder((folder) => {
      const snap = killedIncrement(folder)
      symlinkSync('../full', join(snap, 'parent'))
      expect(thrownBy(() => takeUp(snap))).toMatchObject({ code: 'IMAGES_DIR_IN_USE' })
      expect(readdirSync(snap)).toEqual(['parent'])
    })
  })

  it('goes on where a run was killed that had removed the link', async () => {
    await inFolder((folder) => {
      const snap = killedIncrement(folder)
      rmSync(join(snap, PARTIAL, 'parent'))
      expect(takeUp(snap)).toEqual([])
    })
  })

  it('removes the folder of a run that had written only half a marker, or none', async () => {
    await inFolder((folder) => {
      killedBeforePublishing(folder)
      truncateSync(join(folder, PARTIAL, MANIFEST_NAME), 40)
      expect(takeUp(folder)).toEqual([])
      mkdirSync(join(folder, PARTIAL))
      expect(takeUp(folder)).toEqual([])
    })
  })

  it('goes on where a run was killed that was cleaning up', async () => {
    await inFolder((folder) => {
      killedBeforePublishing(folder)
      for (const { name } of FILES.slice(0, 2)) publish(folder, name)
      rmSync(join(folder, 'mm-7.img'))
      expect(takeUp(folder)).toEqual([])
    })
  })

  it('does not remove a file of that name that has another size, and refuses the directory', async () => {
    await inFolder((folder) => {
      killedBeforePublishing(folder)
      rmSync(join(folder, PARTIAL, 'pages-1.img'))
      writeFileSync(join(folder, 'pages-1.img'), 'from somebody else')
      expect(thrownBy(() => takeUp(folder))).toMatchObject({ code: 'IMAGES_DIR_IN_USE' })
      expect(readdirSync(folder)).toEqual(['pages-1.img'])
    })
  })

  it('never follows a marker out of the directory', async () => {
    await inFolder((folder) => {
      const inside = join(folder, 'inside')
      mkdirSync(join(inside, PARTIAL), { recursive: true })
      writeFileSync(join(folder, 'victim'), 'four')
      const files = [{ name: '../victim', bytes: 4 }]
      writeFileSync(join(inside, PARTIAL, MANIFEST_NAME), encodeManifest(manifestOf(files)))
      expect(takeUp(inside)).toEqual([])
      expect(readdirSync(folder).sort()).toEqual(['inside', 'victim'])
    })
  })

  it('refuses a link or file with the name of the staging folder', async () => {
    await inFolder((folder) => {
      mkdirSync(join(folder, 'precious'))
      symlinkSync('precious', join(folder, PARTIAL))
      expect(thrownBy(() => takeUp(folder))).toMatchObject({ code: 'IMAGES_DIR_UNUSABLE' })
      rmdirSync(join(folder, 'precious'))
      expect(readdirSync(folder)).toEqual([PARTIAL])
    })
  })

  it("does not keep a directory that it made itself if it can't go on", async () => {
    await inFolder((folder) => {
      const lock = (): boolean => {
        writeFileSync(join(folder, 'a/b', PARTIAL), '')
        return true
      }
      expect(thrownBy(() => ImagesDirectory.create(join(folder, 'a/b'), { lock }))).toMatchObject({
        code: 'IMAGES_DIR_UNUSABLE',
      })
      expect(readdirSync(join(folder, 'a/b'))).toEqual([PARTIAL])
    })
  })
})
