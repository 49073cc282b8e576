import { spawnSync } from 'node:child_process'
import {
  chmodSync,
  existsSync,
  fstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from '@jest/globals'

import { ImagesDirectory, type PublishOptions } from '../../src/image/images-dir.js'
import { encodeManifest, MANIFEST_NAME } from '../../src/image/manifest.js'
import { detailsOf, inFolder, manifestOf, thrownBy } from './fixtures.js'

const FREE = { lock: () => true }
const FILES = [
  { name: 'mm-7.img', bytes: 5 },
  { name: 'pages-1.img', bytes: 4 },
]
const PARTIAL = '.tidemark-partial'
const modeOf = (path: string): string => (statSync(path).mode & 0o7777).toString(8)

/** A transaction in which everything is written and nothing published. */
function staged(path: string): ImagesDirectory {
  const images = ImagesDirectory.create(path, FREE)
  images.writeFile('mm-7.img', [Buffer.from('ab'), Buffer.from('cde')])
  writeSync(images.createFile('pages-1.img'), 'page')
  images.writeFile(MANIFEST_NAME, [encodeManifest(manifestOf(FILES))])
  return images
}

function publishOptions(sync: boolean): PublishOptions {
  return { sync, files: FILES }
}

describe('publishing', () => {
  it.each([true, false])('makes every file appear and the staging folder vanish (sync: %s)', async (sync) => {
    await inFolder(async (folder) => {
      const images = staged(join(folder, 'snap'))
      expect(readdirSync(join(folder, 'snap'))).toEqual([PARTIAL])
      await images.publish(publishOptions(sync))
      expect(readdirSync(join(folder, 'snap')).sort()).toEqual(['mm-7.img', 'pages-1.img', MANIFEST_NAME])
      expect(readFileSync(join(folder, 'snap/mm-7.img'), 'latin1')).toBe('abcde')
      expect(readFileSync(join(folder, 'snap/pages-1.img'), 'latin1')).toBe('page')
    })
  })

  it('is final: a second publish and a discard do nothing, and the descriptors are closed', async () => {
    await inFolder(async (folder) => {
      const images = staged(join(folder, 'snap'))
      await images.publish(publishOptions(false))
      await images.publish(publishOptions(false))
      expect(images.discard()).toEqual([])
      expect(readdirSync(join(folder, 'snap'))).toHaveLength(3)
      expect(thrownBy(() => fstatSync(images.fd))).toMatchObject({ code: 'EBADF' })
    })
  })

  it.each([
    ['shorter', 5],
    ['longer', 3],
  ])('refuses a file that is %s than the caller says', async (_, bytes) => {
    await inFolder(async (folder) => {
      const images = staged(join(folder, 'snap'))
      const path = join(images.path, 'pages-1.img')
      const files = [...FILES.slice(0, 1), { name: 'pages-1.img', bytes }]
      await expect(images.publish({ sync: false, files })).rejects.toMatchObject({
        code: 'WRITE_FAILED',
        details: { path },
      })
      expect(readdirSync(images.path)).toEqual([PARTIAL])
      images.discard()
      expect(readdirSync(folder)).toEqual([])
    })
  })

  it.each([
    [true, 2],
    [false, 1],
  ])('ends with nothing seen when it is told not to proceed, with sync: %s', async (sync, calls) => {
    await inFolder(async (folder) => {
      let left = calls
      const proceed = (): void => {
        left -= 1
        if (left === 0) throw new Error('no more')
      }
      const images = staged(folder)
      await expect(images.publish({ ...publishOptions(sync), proceed })).rejects.toThrow('no more')
      expect(readdirSync(folder)).toEqual(['.tidemark-partial'])
      expect(images.discard()).toEqual([])
      expect(readdirSync(folder)).toEqual([])
    })
  })

  it('refuses to publish other files than were created, or without the marker', async () => {
    await inFolder(async (folder) => {
      const images = staged(join(folder, 'snap'))
      await expect(images.publish({ sync: false, files: FILES.slice(1) })).rejects.toMatchObject({
        code: 'INTERNAL',
      })
      images.discard()
      const unmarked = ImagesDirectory.create(join(folder, 'other'), FREE)
      await expect(unmarked.publish({ sync: false, files: [] })).rejects.toMatchObject({ code: 'INTERNAL' })
      unmarked.discard()
    })
  })

  it('replaces no file that somebody else put there meanwhile', async () => {
    await inFolder(async (folder) => {
      const images = staged(join(folder, 'snap'))
      writeFileSync(join(images.path, 'pages-1.img'), 'theirs')
      await expect(images.publish(publishOptions(false))).rejects.toMatchObject({ code: 'IMAGES_DIR_IN_USE' })
      images.discard()
      expect(readFileSync(join(folder, 'snap/pages-1.img'), 'latin1')).toBe('theirs')
    })
  })

  it('puts the marker in place only after all that it vouches for', async () => {
    await inFolder(async (folder) => {
      const images = staged(join(folder, 'snap'))
      rmSync(join(images.path, PARTIAL, 'pages-1.img'))
      await expect(images.publish(publishOptions(false))).rejects.toMatchObject({
        code: 'WRITE_FAILED',
        details: { errno: 'ENOENT', syscall: 'rename' },
      })
      expect(readdirSync(images.path).sort()).toEqual([PARTIAL, 'mm-7.img'])
      images.discard()
      expect(readdirSync(folder)).toEqual([])
    })
  })

  it('stops without a trace when it is discarded while it waits for the device', async () => {
    await inFolder(async (folder) => {
      const images = staged(join(folder, 'snap'))
      const publishing = images.publish(publishOptions(true))
      images.discard()
      await expect(publishing).rejects.toMatchObject({ code: 'INTERRUPTED' })
      expect(readdirSync(folder)).toEqual([])
    })
  })
})

describe('the link to the parent images', () => {
  /** A transaction with a link to the snapshot `full` beside it. */
  function linked(folder: string): ImagesDirectory {
    mkdirSync(join(folder, 'full'))
    writeFileSync(join(folder, 'full/pages-1.img'), 'old page')
    const images = staged(join(folder, 'snap'))
    images.linkParent('../full')
    return images
  }

  it.each([true, false])('appears with the files, and not before (sync: %s)', async (sync) => {
    await inFolder(async (folder) => {
      const images = linked(folder)
      expect(readdirSync(images.path)).toEqual([PARTIAL])
      await images.publish(publishOptions(sync))
      expect(readdirSync(images.path).sort()).toEqual(['mm-7.img', 'pages-1.img', 'parent', MANIFEST_NAME])
      expect(readlinkSync(join(images.path, 'parent'))).toBe('../full')
      expect(readFileSync(join(images.path, 'parent/pages-1.img'), 'latin1')).toBe('old page')
    })
  })

  it('is removed by a discard, and what it leads to stays', async () => {
    await inFolder((folder) => {
      linked(folder).discard()
      expect(readdirSync(folder)).toEqual(['full'])
      expect(readFileSync(join(folder, 'full/pages-1.img'), 'latin1')).toBe('old page')
    })
  })

  it('is removed by a discard though it was in place already, and what it leads to stays', async () => {
    await inFolder(async (folder) => {
      const images = linked(folder)
      rmSync(join(images.path, PARTIAL, MANIFEST_NAME))
      await expect(images.publish(publishOptions(false))).rejects.toMatchObject({ code: 'WRITE_FAILED' })
      expect(readdirSync(images.path)).toContain('parent')
      expect(images.discard()).toEqual([])
      expect(readdirSync(folder)).toEqual(['full'])
      expect(readFileSync(join(folder, 'full/pages-1.img'), 'latin1')).toBe('old page')
    })
  })

  it('replaces nothing of its name that somebody else put there meanwhile', async () => {
    await inFolder(async (folder) => {
      const images = linked(folder)
      symlinkSync('elsewhere', join(images.path, 'parent'))
      await expect(images.publish(publishOptions(false))).rejects.toMatchObject({
        code: 'IMAGES_DIR_IN_USE',
        details: { path: join(images.path, 'parent') },
      })
      images.discard()
      expect(readdirSync(images.path)).toEqual(['parent'])
      expect(readlinkSync(join(images.path, 'parent'))).toBe('elsewhere')
    })
  })

  it('that is there already has the directory refused, though it is dead', async () => {
    await inFolder((folder) => {
      symlinkSync('nowhere', join(folder, 'parent'))
      const error = thrownBy(() => ImagesDirectory.create(folder, FREE))
      expect(error).toMatchObject({ code: 'IMAGES_DIR_IN_USE' })
      expect(readdirSync(folder)).toEqual(['parent'])
    })
  })

  it('is one: a second is refused, and one after the end', async () => {
    await inFolder((folder) => {
      const images = linked(folder)
      expect(thrownBy(() => images.linkParent('../other'))).toMatchObject({
        code: 'WRITE_FAILED',
        details: { errno: 'EEXIST', syscall: 'symlink' },
      })
      images.discard()
      expect(thrownBy(() => images.linkParent('../full'))).toMatchObject({ code: 'INTERNAL' })
    })
  })
})

describe('discarding', () => {
  it('removes the directories that were made, and only those', async () => {
    await inFolder((folder) => {
      mkdirSync(join(folder, 'old'))
      const images = staged(join(folder, 'old/new/newer'))
      expect(images.discard()).toEqual([])
      expect(images.discard()).toEqual([])
      expect(readdirSync(join(folder, 'old'))).toEqual([])
    })
  })

  it('leaves a directory in which somebody else put a file', async () => {
    await inFolder((folder) => {
      const images = staged(join(folder, 'a/b'))
      writeFileSync(join(folder, 'a/b/notes.txt'), '')
      images.discard()
      expect(readdirSync(join(folder, 'a/b'))).toEqual(['notes.txt'])
    })
  })
})

describe('modes', () => {
  it.each([0o000, 0o022, 0o777])('are 0700 and 0600 whatever the umask (%s)', async (umask) => {
    await inFolder(async (folder) => {
      const before = process.umask(umask)
      const images = staged(join(folder, 'a/b'))
      process.umask(before)
      expect(modeOf(join(folder, 'a/b', PARTIAL))).toBe('700')
      await images.publish(publishOptions(false))
      expect(['a', 'a/b'].map((name) => modeOf(join(folder, name)))).toEqual(['700', '700'])
      expect(
        ['mm-7.img', 'pages-1.img', MANIFEST_NAME].map((name) => modeOf(join(images.path, name))),
      ).toEqual(Array<string>(3).fill('600'))
    })
  })

  it('of a directory that exists stay', async () => {
    await inFolder(async (folder) => {
      chmodSync(folder, 0o755)
      await staged(folder).publish(publishOptions(false))
      expect(modeOf(folder)).toBe('755')
    })
  })
})

describe('creating', () => {
  it('accepts a directory with unrelated files, and leaves them alone', async () => {
    await inFolder(async (folder) => {
      writeFileSync(join(folder, 'notes.txt'), 'x')
      await staged(folder).publish(publishOptions(false))
      expect(readFileSync(join(folder, 'notes.txt'), 'latin1')).toBe('x')
    })
  })

  it.each([MANIFEST_NAME, 'stats-dump', 'inventory.img', 'core-1.img'])(
    'refuses a directory with %s',
    async (name) => {
      await inFolder((folder) => {
        writeFileSync(join(folder, name), '')
        const error = thrownBy(() => ImagesDirectory.create(folder, FREE))
        expect(error).toMatchObject({ code: 'IMAGES_DIR_IN_USE' })
        expect(String(error)).toContain('choose a new directory')
        expect(readdirSync(folder)).toEqual([name])
      })
    },
  )

  it('goes through a symbolic link, and stays there when the link is changed', async () => {
    await inFolder(async (folder) => {
      mkdirSync(join(folder, 'real'))
      mkdirSync(join(folder, 'other'))
      symlinkSync('real', join(folder, 'link'))
      const images = staged(join(folder, 'link'))
      expect(images.path.endsWith('/real')).toBe(true)
      spawnSync('ln', ['-sfn', 'other', join(folder, 'link')])
      await images.publish(publishOptions(true))
      expect(readdirSync(join(folder, 'real'))).toHaveLength(3)
      expect(readdirSync(join(folder, 'other'))).toEqual([])
    })
  })

  it.each(['file/snap', 'dangling', 'file'])('refuses %s, and leaves nothing behind', async (name) => {
    await inFolder((folder) => {
      writeFileSync(join(folder, 'file'), '')
      symlinkSync('nowhere', join(folder, 'dangling'))
      const error = thrownBy(() => ImagesDirectory.create(join(folder, name), FREE))
      expect(error).toMatchObject({ code: 'IMAGES_DIR_UNUSABLE' })
      expect(detailsOf(error)).toMatchObject({ path: join(folder, name) })
      expect(readdirSync(folder).sort()).toEqual(['dangling', 'file'])
    })
  })

  it('refuses a directory whose lock another run has, and touches nothing', async () => {
    await inFolder((folder) => {
      mkdirSync(join(folder, PARTIAL))
      const error = thrownBy(() => ImagesDirectory.create(folder, { lock: () => false }))
      expect(error).toMatchObject({ code: 'IMAGES_DIR_IN_USE' })
      expect(String(error)).toContain('another run')
      expect(readdirSync(folder)).toEqual([PARTIAL])
    })
  })

  it('refuses a directory that its last holder removed while it waited for the lock', async () => {
    await inFolder((folder) => {
      const path = join(folder, 'snap')
      const first = ImagesDirectory.create(path, FREE)
      const lock = (): boolean => {
        first.discard()
        spawnSync('mkdir', [path])
        return true
      }
      expect(thrownBy(() => ImagesDirectory.create(path, { lock }))).toMatchObject({
        code: 'IMAGES_DIR_IN_USE',
      })
    })
  })

  it('gives the lock the open directory', async () => {
    await inFolder((folder) => {
      const inodes: bigint[] = []
      const lock = (fd: number): boolean => inodes.push(fstatSync(fd, { bigint: true }).ino) > 0
      const images = ImagesDirectory.create(folder, { lock })
      expect(inodes).toEqual([statSync(folder, { bigint: true }).ino])
      expect(fstatSync(images.fd, { bigint: true }).ino).toBe(inodes[0])
      images.discard()
      expect(existsSync(folder)).toBe(true)
    })
  })
})

describe('creating a file', () => {
  it('refuses a second one of that name, and names that are paths', async () => {
    await inFolder((folder) => {
      const images = ImagesDirectory.create(folder, FREE)
      images.createFile('a.img')
      expect(thrownBy(() => images.createFile('a.img'))).toMatchObject({
        code: 'WRITE_FAILED',
        details: { errno: 'EEXIST' },
      })
      for (const name of ['../a.img', '/a.img', '.hidden', '']) {
        expect(thrownBy(() => images.createFile(name))).toMatchObject({ code: 'INTERNAL' })
      }
      images.discard()
      expect(thrownBy(() => images.createFile('b.img'))).toMatchObject({ code: 'INTERNAL' })
    })
  })
})
