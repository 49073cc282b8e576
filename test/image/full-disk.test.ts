import { spawnSync } from 'node:child_process'
import { mkdirSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from '@jest/globals'

import { ImagesDirectory } from '../../src/image/images-dir.js'
import { inFolder, thrownBy } from './fixtures.js'

const FREE = { lock: () => true }

/** Runs `test` on a file system of 64 KiB, or says why it can't. */
async function onTmpfs(options: string, test: (mount: string) => void): Promise<void> {
  await inFolder((folder) => {
    const mount = join(folder, 'mount')
    mkdirSync(mount)
    const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', options, 'tidemark-test', mount], {
      encoding: 'utf8',
    })
    if (mounted.status !== 0) {
      process.stderr.write(`skipped: can't mount a tmpfs: ${mounted.stderr || String(mounted.error)}\n`)
      return
    }
    try {
      test(mount)
    } finally {
      spawnSync('umount', [mount])
    }
  })
}

const canMount = process.getuid?.() === 0
if (!canMount) process.stderr.write('skipped: only root can mount the small file systems of these tests\n')
const itOnMount = canMount ? it : it.skip

describe('a full file system', () => {
  itOnMount('fails the write with ENOSPC, the path and a remedy, and leaves nothing behind', async () => {
    await onTmpfs('size=64k', (mount) => {
      const images = ImagesDirectory.create(join(mount, 'snap'), FREE)
      images.writeFile('small.img', [Buffer.alloc(4096)])
      const error = thrownBy(() =>
        images.writeFile('pages-1.img', [Buffer.alloc(4096), Buffer.alloc(1 << 20)]),
      )
      expect(error).toMatchObject({
        code: 'WRITE_FAILED',
        details: { errno: 'ENOSPC', syscall: 'write', path: join(mount, 'snap/pages-1.img') },
      })
      expect(String(error)).toContain('free space')
      expect(images.discard()).toEqual([])
      expect(readdirSync(mount)).toEqual([])
    })
  })

  itOnMount('without inodes left can hold no images directory', async () => {
    await onTmpfs('size=64k,nr_inodes=2', (mount) => {
      const error = thrownBy(() => ImagesDirectory.create(join(mount, 'a/b'), FREE))
      expect(error).toMatchObject({ code: 'IMAGES_DIR_UNUSABLE', details: { errno: 'ENOSPC' } })
      expect(readdirSync(mount)).toEqual([])
    })
  })
})

describe('a read-only file system', () => {
  itOnMount('can hold no images directory', async () => {
    await onTmpfs('size=64k,ro', (mount) => {
      for (const path of [mount, join(mount, 'snap')]) {
        const error = thrownBy(() => ImagesDirectory.create(path, FREE))
        expect(error).toMatchObject({ code: 'IMAGES_DIR_UNUSABLE', details: { errno: 'EROFS' } })
        expect(String(error)).toContain('read-only')
      }
    })
  })
})
