import {
  mkdirSync,
  readdirSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from '@jest/globals'

import { hasParent, openChain, storedPageCount, type Chain, type PreDumped } from '../../src/image/chain.js'
import { collectFiles, encodeFiles } from '../../src/image/files.js'
import { ImagesDirectory } from '../../src/image/images-dir.js'
import { encodeManifest, MANIFEST_NAME } from '../../src/image/manifest.js'
import { encodeMm } from '../../src/image/mm.js'
import { encodePagemap } from '../../src/image/pagemap.js'
import { encodePstree } from '../../src/image/pstree.js'
import { type Held, writeLink } from '../support/hand-made-images.js'
import { pageSize } from '../support/kernel-vmas.js'
import { inFolder, manifestOf, planOf, thrownBy, vmaOf } from './fixtures.js'

const PAGE = pageSize()
/** What the hand-made images are: pre-dumps, without a process tree, of PID 1. */
const HAND_MADE: PreDumped = { pid: 1, pageSize: PAGE }

const full = (value: number): Buffer => Buffer.alloc(PAGE, value)
const heldOf = (pages: Readonly<Record<number, Held>>): Map<number, Held> =>
  new Map(Object.entries(pages).map(([page, held]) => [Number(page), held]))

/** Writes link `name` of a hand-made chain. */
function writeHandMade(path: string, pages: Readonly<Record<number, Held>>, parent?: string): void {
  writeLink(path, heldOf(pages), parent)
  writeFileSync(join(path, 'inventory.img'), '')
}

/** Three links: page 1 from the first, 2 from the second, 3 its own; 5 from the second, which has 6 as well. */
function writeThree(folder: string): void {
  writeHandMade(join(folder, '1'), { 1: full(11), 2: full(12), 3: full(13), 4: full(14) })
  writeHandMade(
    join(folder, '2'),
    { 1: 'parent', 2: full(22), 3: 'parent', 5: full(25), 6: full(26) },
    '../1',
  )
  writeHandMade(join(folder, '3'), { 1: 'parent', 2: 'parent', 3: full(33), 5: 'parent' }, '../2')
}

/** The first byte of each of `pages`, undefined where there is no such page. */
function firstBytes(chain: Chain, pages: readonly number[]): (number | undefined)[] {
  return pages.map((page) => chain.readPage(page)?.[0])
}

/** Runs `use` with the chain at `folder`, closed afterwards. */
function withChain(folder: string, use: (chain: Chain) => void, preDumped?: PreDumped): void {
  const chain = openChain(folder, preDumped)
  try {
    use(chain)
  } finally {
    chain.close()
  }
}

/** What is said about the chain at `folder`, which no descriptor is left open for. */
function complaint(folder: string, preDumped: PreDumped | undefined = HAND_MADE): string {
  const before = openPagesFiles()
  const error = thrownBy(() => openChain(folder, preDumped))
  expect(error).toMatchObject({ code: 'BAD_IMAGE' })
  expect(openPagesFiles()).toEqual(before)
  return String(error)
}

/** The pages files that this process has open. */
function openPagesFiles(): string[] {
  return readdirSync('/proc/self/fd').flatMap((fd) => {
    try {
      const target = readlinkSync(`/proc/self/fd/${fd}`)
      return /pages-\d+\.img/.test(target) ? [target] : []
    } catch {
      return []
    }
  })
}

interface OwnOptions {
  readonly pageSize?: number
  readonly holes?: readonly (readonly [number, number])[]
  readonly parent?: string
}

/** Writes a snapshot as Tidemark does: page 1 is full of 77, the holes are in the parent. */
async function writeOwn(folder: string, options: OwnOptions = {}): Promise<void> {
  const { pageSize: size = PAGE, holes = [], parent } = options
  const directory = ImagesDirectory.create(folder, { lock: () => true })
  const vmas = [vmaOf('0-30000 rw-p 00000000 00:00 0')]
  const collected = collectFiles({ devMajor: 1, devMinor: 2, inode: 3, path: '/bin/x' }, vmas)
  const facts = {
    ...{ startCode: 0, endCode: 0, startData: 0, endData: 0, startStack: 0, startBrk: 0, brk: 0 },
    ...{ argStart: 0, argEnd: 0, envStart: 0, envEnd: 0, auxv: [6n, BigInt(size), 0n, 0n], exeFileId: 1 },
  }
  const images: [string, Uint8Array][] = [
    ['pages-1.img', Buffer.alloc(size, 77)],
    ['pagemap-1.img', encodePagemap(planOf([[1, 1]], holes), size, 1)],
    ['mm-1.img', encodeMm(vmas, facts, collected, size)],
    ['files.img', encodeFiles(collected)],
    ['pstree.img', encodePstree([{ pid: 1, ppid: 0, pgid: 1, sid: 1, threads: [1] }])],
  ]
  const files = images.map(([name, bytes]) => ({ name, bytes: directory.writeFile(name, [bytes]) }))
  const plain = manifestOf(files)
  const manifest = {
    ...plain,
    target: { ...plain.target, nsPid: 1 },
    pageSize: size,
    parent: parent === undefined ? undefined : { link: parent, snapshotId: '' },
    counts: { ...plain.counts, pagesStored: 1, runs: 1 + holes.length },
  }
  directory.writeFile(MANIFEST_NAME, [encodeManifest(manifest)])
  if (parent !== undefined) directory.linkParent(parent)
  await directory.publish({ sync: false, files })
}

describe('an open chain', () => {
  it('finds each page through three links, and none that the snapshot itself does not list', async () => {
    await inFolder((folder) => {
      writeThree(folder)
      withChain(
        join(folder, '3'),
        (chain) => {
          expect(firstBytes(chain, [0, 1, 2, 3, 4, 5, 6, 7])).toEqual([
            ...[undefined, 11, 22, 33, undefined, 25, undefined, undefined],
          ])
          expect(chain.readPage(1)).toEqual(full(11))
          expect(chain.links.map((link) => link.folder)).toEqual(
            ['3', '2', '1'].map((name) => join(folder, name)),
          )
          expect(chain.links.map(({ pagemap }) => storedPageCount(pagemap))).toEqual([1, 3, 4])
          expect([chain.lost, chain.pid, chain.pageSize]).toEqual([[], 1, PAGE])
        },
        HAND_MADE,
      )
    })
  })

  it('is one link where there is no parent', async () => {
    await inFolder((folder) => {
      writeThree(folder)
      withChain(
        join(folder, '1'),
        (chain) => {
          expect(chain.links).toHaveLength(1)
          expect(firstBytes(chain, [1, 4, 5])).toEqual([11, 14, undefined])
        },
        HAND_MADE,
      )
      expect(['1', '2'].map((name) => hasParent(join(folder, name)))).toEqual([false, true])
    })
  })

  it('follows an absolute link, and links that lead to the folder or on the way to it', async () => {
    await inFolder((folder) => {
      writeHandMade(join(folder, '1'), { 1: full(11) })
      symlinkSync('1', join(folder, 'latest'))
      mkdirSync(join(folder, 'deep'))
      writeHandMade(join(folder, 'deep/2'), { 1: 'parent' }, join(folder, 'latest'))
      symlinkSync('deep', join(folder, 'short'))
      for (const path of ['deep/2', 'short/2', 'deep/../short/2']) {
        withChain(
          join(folder, path),
          (chain) => {
            expect(firstBytes(chain, [1])).toEqual([11])
            expect(chain.links.map((link) => link.folder)).toEqual([
              join(folder, 'deep/2'),
              join(folder, '1'),
            ])
          },
          HAND_MADE,
        )
      }
    })
  })

  it('takes a relative link from the real folder, as the kernel does', async () => {
    await inFolder((folder) => {
      mkdirSync(join(folder, 'real/a'), { recursive: true })
      writeHandMade(join(folder, 'real/1'), { 1: full(11) })
      writeHandMade(join(folder, 'real/a/2'), { 1: 'parent' }, '../../1')
      symlinkSync('real/a/2', join(folder, 'here'))
      withChain(
        join(folder, 'here'),
        (chain) => {
          expect(firstBytes(chain, [1])).toEqual([11])
        },
        HAND_MADE,
      )
    })
  })

  it('of snapshots by Tidemark needs not be told PID and page size, and may end in images of CRIU', async () => {
    await inFolder(async (folder) => {
      writeHandMade(join(folder, '1'), { 2: full(12) })
      await writeOwn(join(folder, '2'), { holes: [[2, 1]], parent: '../1' })
      await writeOwn(join(folder, '3'), { holes: [[2, 1]], parent: '../2' })
      withChain(join(folder, '3'), (chain) => {
        expect(firstBytes(chain, [1, 2])).toEqual([77, 12])
        expect(chain.links.map(({ manifest }) => manifest?.parent?.link)).toEqual(['../2', '../1', undefined])
        expect(chain.links[2]?.manifest).toBeUndefined()
        expect([chain.pid, chain.pageSize]).toEqual([1, PAGE])
      })
    })
  })

  it('tells the pages that a link leaves to a parent without them', async () => {
    await inFolder((folder) => {
      writeHandMade(join(folder, '1'), { 1: full(11) })
      writeHandMade(join(folder, '2'), { 1: 'parent', 2: 'parent', 3: 'parent', 4: full(24) }, '../1')
      withChain(
        join(folder, '2'),
        (chain) => {
          expect(chain.lost).toEqual([{ link: 0, startPage: 2, pages: 2 }])
          expect(firstBytes(chain, [1, 2, 3, 4])).toEqual([11, undefined, undefined, 24])
        },
        HAND_MADE,
      )
      rmSync(join(folder, '2/parent'))
      withChain(
        join(folder, '2'),
        (chain) => {
          expect(chain.lost).toEqual([{ link: 0, startPage: 1, pages: 3 }])
        },
        HAND_MADE,
      )
    })
  })

  it('closes every pages file, once', async () => {
    await inFolder((folder) => {
      writeThree(folder)
      const before = openPagesFiles()
      const chain = openChain(join(folder, '3'), HAND_MADE)
      expect(openPagesFiles()).toHaveLength(before.length + 3)
      chain.close()
      expect(openPagesFiles()).toEqual(before)
      expect(() => {
        chain.close()
      }).not.toThrow()
      expect(() => chain.readPage(1)).toThrow('EBADF')
    })
  })

  it('says which file has shrunk since it was opened', async () => {
    await inFolder((folder) => {
      writeThree(folder)
      withChain(
        join(folder, '3'),
        (chain) => {
          truncateSync(join(folder, '1/pages-1.img'), PAGE - 1)
          expect(thrownBy(() => chain.readPage(1))).toMatchObject({
            code: 'BAD_IMAGE',
            details: { path: join(folder, '1/pages-1.img') },
          })
          expect(firstBytes(chain, [2, 3])).toEqual([22, 33])
        },
        HAND_MADE,
      )
    })
  })
})

describe('a chain is refused', () => {
  it.each([
    ['itself', '.'],
    ['the child', '../3'],
    ['the grandchild', '../2'],
  ])('that loops: the first link leads to %s', async (_, target) => {
    await inFolder((folder) => {
      writeThree(folder)
      symlinkSync(target, join(folder, '1/parent'))
      expect(complaint(join(folder, '3'))).toContain('the chain of parents loops')
    })
  })

  it('that has a dead link, which is named with what it leads to', async () => {
    await inFolder((folder) => {
      writeThree(folder)
      rmSync(join(folder, '1'), { recursive: true })
      expect(complaint(join(folder, '3'))).toContain(
        `${join(folder, '2/parent')}: it leads to ../1, which is not there: ENOENT`,
      )
      symlinkSync('1', join(folder, '1'))
      expect(complaint(join(folder, '3'))).toContain('ELOOP')
    })
  })

  it('whose parent is no symbolic link', async () => {
    await inFolder((folder) => {
      writeThree(folder)
      mkdirSync(join(folder, '1/parent'))
      expect(complaint(join(folder, '3'))).toContain(`${join(folder, '1/parent')}: it is not a symbolic link`)
    })
  })

  it('whose parent holds no images, or is a file', async () => {
    await inFolder((folder) => {
      mkdirSync(join(folder, 'empty'))
      writeFileSync(join(folder, 'file'), '')
      writeHandMade(join(folder, '2'), { 1: 'parent' }, '../empty')
      writeHandMade(join(folder, '3'), { 1: 'parent' }, '../file')
      expect(complaint(join(folder, '2'))).toContain(`${join(folder, 'empty')}: no snapshot`)
      expect(complaint(join(folder, '3'))).toContain(join(folder, 'file'))
    })
  })

  it('whose parent is of another process: it has no pagemap of that PID', async () => {
    await inFolder((folder) => {
      writeThree(folder)
      expect(complaint(join(folder, '3'), { pid: 2, pageSize: PAGE })).toContain('pagemap-2.img: missing')
    })
  })

  it('whose pages differ in size', async () => {
    await inFolder(async (folder) => {
      await writeOwn(join(folder, '1'), { pageSize: 4 * PAGE })
      await writeOwn(join(folder, '2'), { parent: '../1' })
      expect(complaint(join(folder, '2'), undefined)).toContain(
        `its pages have ${4 * PAGE} bytes, those of the snapshot ${PAGE}`,
      )
    })
  })

  it('whose parent has a pages file that is too short, or damaged images', async () => {
    await inFolder(async (folder) => {
      writeThree(folder)
      truncateSync(join(folder, '1/pages-1.img'), 3 * PAGE)
      expect(complaint(join(folder, '3'))).toContain(join(folder, '1/pages-1.img'))
      await writeOwn(join(folder, 'own'))
      writeHandMade(join(folder, 'child'), { 1: 'parent' }, '../own')
      truncateSync(join(folder, 'own/mm-1.img'), 9)
      expect(complaint(join(folder, 'child'))).toContain(join(folder, 'own/mm-1.img'))
    })
  })

  it('that is not there at all', async () => {
    await inFolder((folder) => {
      for (const preDumped of [HAND_MADE, undefined]) {
        expect(complaint(join(folder, 'nowhere'), preDumped)).toContain(join(folder, 'nowhere'))
      }
    })
  })
})
