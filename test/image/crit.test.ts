// CRIU's own tool as the judge of every image that is written here.
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from '@jest/globals'

import { collectFiles, encodeFiles } from '../../src/image/files.js'
import { decodeInventory, encodeInventory, PRE_DUMP_MODE } from '../../src/image/inventory.js'
import { encodeMm } from '../../src/image/mm.js'
import { encodePagemap } from '../../src/image/pagemap.js'
import { decodePstree, encodePstree } from '../../src/image/pstree.js'
import { decodeDumpStats, encodeDumpStats } from '../../src/image/stats.js'
import { crit, critDecode, hasCrit, inFolder, planOf, thrownBy, vmaOf } from './fixtures.js'

const itWithCrit = hasCrit() ? it : it.skip

const EXE = { devMajor: 0xfe, devMinor: 0, inode: 77, path: '/usr/bin/sleep' }
const VMAS = [
  vmaOf('55fdbea82000-55fdbea87000 r-xp 00002000 fe:00 77  /usr/bin/sleep'),
  vmaOf('55fdca4d5000-55fdca4f6000 rw-p 00000000 00:00 0  [heap]', 'rd wr hg'),
  vmaOf('7fce8b2e4000-7fce8b2eb000 r--s 00000000 fe:00 80  /usr/lib/gconv-modules.cache'),
  vmaOf('7ffe2b4d7000-7ffe2b4f8000 rw-p 00000000 00:00 0  [stack]', 'rd wr gd'),
  vmaOf('ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0  [vsyscall]'),
]
const FACTS = {
  startCode: 0x55fdbea82000,
  endCode: 0x55fdbea86609n,
  startData: 0x55fdbea89d10,
  endData: 0x55fdbea8a200,
  startStack: 0x7ffe2b4f7460,
  startBrk: 0x55fdca4d5000,
  brk: 0x55fdca4f6000,
  argStart: 0x7ffe2b4f7adc,
  argEnd: 0x7ffe2b4f7ae6,
  envStart: 0x7ffe2b4f7ae6,
  envEnd: 0x7ffe2b4f7fe9,
  auxv: [6n, 4096n, 33n, 0xffffffffffffffffn],
  exeFileId: 1,
}
const STATS = {
  freezingTimeUs: 142,
  frozenTimeUs: 5141,
  memdumpTimeUs: 529,
  memwriteTimeUs: 2 ** 33,
  pagesScanned: 2 ** 40,
  pagesSkippedParent: 1,
  pagesWritten: 30,
}

async function decoded(name: string, bytes: Uint8Array): Promise<ReturnType<typeof critDecode>> {
  let image: ReturnType<typeof critDecode> | undefined
  await inFolder((folder) => {
    const path = join(folder, name)
    writeFileSync(path, bytes)
    image = critDecode(path)
  })
  if (image === undefined) throw new Error('not decoded')
  return image
}

describe('crit reads', () => {
  itWithCrit('a pagemap', async () => {
    const image = await decoded(
      'pagemap-7.img',
      encodePagemap(
        planOf([
          [0x10, 3],
          [0xffffffffff600 - 1, 1],
        ]),
        4096,
        5,
      ),
    )
    expect(image.magic).toBe('PAGEMAP')
    expect(image.entries).toHaveLength(3)
    expect(image.entries[0]).toEqual({ pages_id: 5 })
    // crit of 3.17 calls the 32-bit count by the name that the 64-bit one has since 4.2.
    expect(image.entries[1]).toEqual({ vaddr: 0x10000, nr_pages: 3, flags: 4 })
    expect(image.entries[2]).toMatchObject({ nr_pages: 1, flags: 4 })
  })

  itWithCrit('a pagemap with holes, in address order', async () => {
    const plan = planOf(
      [
        [0x10, 3],
        [0x20, 1],
      ],
      [
        [0x13, 5],
        [0xffffffffff600 - 1, 1],
      ],
    )
    const image = await decoded('pagemap-7.img', encodePagemap(plan, 4096, 5))
    expect(image.entries).toMatchObject([
      { pages_id: 5 },
      { vaddr: 0x10000, nr_pages: 3, flags: 4 },
      { vaddr: 0x13000, nr_pages: 5, flags: 1 },
      { vaddr: 0x20000, nr_pages: 1, flags: 4 },
      { nr_pages: 1, flags: 1 },
    ])
    await inFolder((folder) => {
      const path = join(folder, 'pagemap-7.img')
      writeFileSync(path, encodePagemap(plan, 4096, 5))
      expect(crit('show', path).match(/"flags": "[^"]*"/g)).toEqual([
        '"flags": "PE_PRESENT"',
        '"flags": "PE_PARENT"',
        '"flags": "PE_PRESENT"',
        '"flags": "PE_PARENT"',
      ])
    })
  })

  itWithCrit('an mm image', async () => {
    const image = await decoded('mm-7.img', encodeMm(VMAS, FACTS, collectFiles(EXE, VMAS), 4096))
    expect(image.magic).toBe('MM')
    const [mm] = image.entries
    expect(mm).toMatchObject({ mm_end_code: 0x55fdbea86609, mm_brk: 0x55fdca4f6000, exe_file_id: 1 })
    expect(mm?.vmas).toMatchObject([
      { start: 0x55fdbea82000, pgoff: 0x2000, shmid: 1, prot: 5, flags: 2, status: 0x41, fd: -1 },
      { prot: 3, flags: 0x22, status: 0x221, madv: 1 << 14 },
      { shmid: 2, prot: 1, flags: 1, status: 0x81 },
      { flags: 0x122, status: 0x201 },
      { prot: 4, flags: 0x22, status: 0x204 },
    ])
  })

  itWithCrit('addresses above 2^53 to the last bit', async () => {
    await inFolder((folder) => {
      const path = join(folder, 'mm-7.img')
      writeFileSync(path, encodeMm(VMAS, FACTS, collectFiles(EXE, VMAS), 4096))
      const text = crit('show', path)
      expect(text).toContain('"start": "0xffffffffff600000"')
      expect(text).toContain('"end": "0xffffffffff601000"')
      expect(text).toContain('18446744073709551615')
      expect(text).toContain('"status": "VMA_AREA_VSYSCALL | VMA_ANON_PRIVATE"')
      expect(text).toContain('"flags": "MAP_PRIVATE | MAP_ANON | MAP_GROWSDOWN"')
    })
  })

  itWithCrit('files.img', async () => {
    const image = await decoded('files.img', encodeFiles(collectFiles(EXE, VMAS)))
    expect(image.magic).toBe('FILES')
    expect(image.entries).toMatchObject([
      { type: 'REG', id: 1, reg: { id: 1, name: '/usr/bin/sleep', pos: 0 } },
      { type: 'REG', id: 2, reg: { id: 2, name: '/usr/lib/gconv-modules.cache' } },
    ])
  })

  itWithCrit('pstree.img', async () => {
    const image = await decoded(
      'pstree.img',
      encodePstree([{ pid: 7, ppid: 0, pgid: 6, sid: 5, threads: [7, 9] }]),
    )
    expect(image).toEqual({
      magic: 'PSTREE',
      entries: [{ pid: 7, ppid: 0, pgid: 6, sid: 5, threads: [7, 9] }],
    })
  })

  itWithCrit('inventory.img', async () => {
    const bytes = encodeInventory({ dumpUptimeUs: 123456789012345n, preDumpMode: PRE_DUMP_MODE.READ })
    expect(await decoded('inventory.img', bytes)).toEqual({
      magic: 'INVENTORY',
      entries: [{ img_version: 2, dump_uptime: 123456789012345, pre_dump_mode: 2 }],
    })
  })

  itWithCrit('stats-dump', async () => {
    const image = await decoded('stats-dump', encodeDumpStats(STATS))
    expect(image.magic).toBe('STATS')
    expect(image.entries).toEqual([
      {
        dump: {
          freezing_time: 142,
          frozen_time: 5141,
          memdump_time: 529,
          memwrite_time: 0xffffffff,
          pages_scanned: 2 ** 40,
          pages_skipped_parent: 1,
          pages_written: 30,
          pages_lazy: 0,
        },
      },
    ])
  })

  itWithCrit(
    'a whole directory for its listing of mappings, but for the core image that it asks for',
    async () => {
      await inFolder((folder) => {
        const files = collectFiles(EXE, VMAS)
        writeFileSync(join(folder, 'files.img'), encodeFiles(files))
        writeFileSync(join(folder, 'mm-7.img'), encodeMm(VMAS, FACTS, files, 4096))
        writeFileSync(
          join(folder, 'pstree.img'),
          encodePstree([{ pid: 7, ppid: 0, pgid: 7, sid: 7, threads: [7] }]),
        )
        const listing = crit('x', folder, 'mems')
        expect(listing).toMatch(/exe +\/usr\/bin\/sleep/)
        expect(listing).toMatch(/55fdbea82000-55fdbea87000 +r-x \/usr\/bin\/sleep \+ 0x2000/)
        expect(listing).toMatch(/gconv-modules\.cache \(s\)/)
        expect(listing).toMatch(/\[stack\?\]/)
        expect(listing).toMatch(/\[vsyscall\] \*/)
      })
    },
  )
})

describe('what is written is read back', () => {
  it('as it was, whole microseconds at most 2^32 - 1', () => {
    expect(decodeDumpStats(encodeDumpStats({ ...STATS, frozenTimeUs: 1.6 }), 'x')).toEqual({
      ...STATS,
      frozenTimeUs: 2,
      memwriteTimeUs: 0xffffffff,
    })
    expect(decodeInventory(encodeInventory({ dumpUptimeUs: 5n }), 'x')).toEqual({
      imgVersion: 2,
      dumpUptime: 5n,
    })
    const tree = [{ pid: 1, ppid: 0, pgid: 1, sid: 1, threads: [] }]
    expect(decodePstree(encodePstree(tree), 'x')).toEqual(tree)
  })

  it('but not under the magic of another image', () => {
    const error = thrownBy(() => decodePstree(encodeDumpStats(STATS), '/d/pstree.img'))
    expect(error).toMatchObject({ code: 'BAD_IMAGE', details: { path: '/d/pstree.img' } })
    expect(String(error)).toContain('bad magic 0x55105940')
  })
})
