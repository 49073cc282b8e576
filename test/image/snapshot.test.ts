import {
  appendFileSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from '@jest/globals'

import { collectFiles, encodeFiles } from '../../src/image/files.js'
import { ImagesDirectory } from '../../src/image/images-dir.js'
import { encodeManifest, MANIFEST_NAME, type Manifest } from '../../src/image/manifest.js'
import { encodeMm } from '../../src/image/mm.js'
import { encodePagemap } from '../../src/image/pagemap.js'
import { encodePstree } from '../../src/image/pstree.js'
import { readSnapshot } from '../../src/image/snapshot.js'
import { encodeDumpStats } from '../../src/image/stats.js'
import { inFolder, manifestOf, planOf, thrownBy, vmaOf } from './fixtures.js'

const RUNS: [number, number][] = [
  [0x10, 1],
  [0x20, 2],
]
const STATS = {
  freezingTimeUs: 1,
  frozenTimeUs: 2,
  memdumpTimeUs: 3,
  memwriteTimeUs: 4,
  pagesScanned: 8,
  pagesSkippedParent: 0,
  pagesWritten: 3,
}

/** The images of a process of which pages 0x10, 0x20 and 0x21 are stored, full of 1, 2 and 3. */
function images(): [string, Uint8Array][] {
  const exe = { devMajor: 1, devMinor: 2, inode: 3, path: '/bin/x' }
  const vmas = [vmaOf('10000-30000 rw-p 00000000 00:00 0')]
  const files = collectFiles(exe, vmas)
  const facts = {
    ...{ startCode: 0, endCode: 0, startData: 0, endData: 0, startStack: 0, startBrk: 0, brk: 0 },
    ...{ argStart: 0, argEnd: 0, envStart: 0, envEnd: 0, auxv: [6n, 4096n, 0n, 0n], exeFileId: 1 },
  }
  const pages = [1, 2, 3].map((value) => Buffer.alloc(4096, value))
  return [
    ['pages-1.img', Buffer.concat(pages)],
    ['pagemap-7.img', encodePagemap(planOf(RUNS), 4096, 1)],
    ['mm-7.img', encodeMm(vmas, facts, files, 4096)],
    ['files.img', encodeFiles(files)],
    ['pstree.img', encodePstree([{ pid: 7, ppid: 0, pgid: 7, sid: 7, threads: [7] }])],
    ['stats-dump', encodeDumpStats(STATS)],
  ]
}

async function writeSnapshot(folder: string, change: Partial<Manifest> = {}): Promise<void> {
  const directory = ImagesDirectory.create(folder, { lock: () => true })
  const files = images().map(([name, bytes]) => ({ name, bytes: directory.writeFile(name, [bytes]) }))
  directory.writeFile(MANIFEST_NAME, [encodeManifest({ ...manifestOf(files), ...change })])
  await directory.publish({ sync: false, files })
}

function complaint(folder: string): string {
  const error = thrownBy(() => readSnapshot(folder))
  expect(error).toMatchObject({ code: 'BAD_IMAGE' })
  return String(error)
}

describe('a published snapshot', () => {
  it('gives back its images and the content of each stored page', async () => {
    await inFolder(async (folder) => {
      await writeSnapshot(folder)
      using snapshot = readSnapshot(folder)
      expect(snapshot.images).toMatchObject({ pid: 7, pageSize: 4096, stats: STATS })
      expect(snapshot.images.manifest?.counts.runs).toBe(2)
      expect(snapshot.images.files.map((file) => file.reg?.name)).toEqual(['/bin/x'])
      const found = [0xf, 0x10, 0x11, 0x1f, 0x20, 0x21, 0x22].map((page) => snapshot.readPage(page)?.[4095])
      expect(found).toEqual([undefined, 1, undefined, undefined, 2, 3, undefined])
    })
  })

  it('may be closed twice', async () => {
    await inFolder(async (folder) => {
      await writeSnapshot(folder)
      const snapshot = readSnapshot(folder)
      snapshot.close()
      snapshot.close()
      expect(() => snapshot.readPage(0x10)).toThrow('EBADF')
    })
  })

  it.each(['pages-1.img', 'pagemap-7.img', 'mm-7.img', 'pstree.img', 'stats-dump', 'files.img'])(
    'is refused when %s is missing, too short or too long',
    async (name) => {
      await inFolder(async (folder) => {
        await writeSnapshot(folder)
        const path = join(folder, name)
        const bytes = readFileSync(path)
        appendFileSync(path, 'x')
        expect(complaint(folder)).toContain(path)
        truncateSync(path, bytes.length - 1)
        expect(complaint(folder)).toContain(path)
        rmSync(path)
        expect(complaint(folder)).toContain(`${path}: missing`)
      })
    },
  )

  it.each([
    ['pagesId', { pagesId: 2 }],
    ['counts.runs', { counts: { ...manifestOf([]).counts, runs: 3 } }],
    ['counts.pagesStored', { counts: { ...manifestOf([]).counts, pagesStored: 4 } }],
  ])('is refused when its manifest and its pagemap differ in %s', async (field, change) => {
    await inFolder(async (folder) => {
      await writeSnapshot(folder, change)
      expect(complaint(folder)).toContain(`field ${field} is`)
    })
  })
})

describe('a directory without a marker', () => {
  it('holds no snapshot, and says whether a dump was killed there', async () => {
    await inFolder((folder) => {
      expect(complaint(folder)).toContain('no snapshot: it has neither tidemark.json')
      expect(complaint(join(folder, 'nowhere'))).toContain('no such file or directory')
      mkdirSync(join(folder, '.tidemark-partial'))
      expect(complaint(folder)).toContain('under way, or was killed')
    })
  })

  it('is read like one of CRIU: PID from the tree, page size from the auxiliary vector', async () => {
    await inFolder((folder) => {
      for (const [name, bytes] of images()) writeFileSync(join(folder, name), bytes)
      rmSync(join(folder, 'stats-dump'))
      appendFileSync(join(folder, 'pages-1.img'), 'garbage that CRIU would read over')
      using snapshot = readSnapshot(folder)
      expect(snapshot.images).toMatchObject({ manifest: undefined, stats: undefined, pid: 7, pageSize: 4096 })
      expect(snapshot.readPage(0x21)?.[0]).toBe(3)
    })
  })

  it('is refused when pages are missing at the end, or the pages file is named otherwise', async () => {
    await inFolder((folder) => {
      for (const [name, bytes] of images()) writeFileSync(join(folder, name), bytes)
      truncateSync(join(folder, 'pages-1.img'), 12287)
      expect(complaint(folder)).toContain('it has 12287 bytes, the pagemap needs 12288')
      renameSync(join(folder, 'pages-1.img'), join(folder, 'pages-2.img'))
      expect(complaint(folder)).toContain('pages-1.img: missing')
    })
  })
})
