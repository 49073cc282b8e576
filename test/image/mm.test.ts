import { describe, expect, it } from '@jest/globals'

import type { Vma } from '../../src/core/vma.js'
import { collectFiles, decodeFiles, encodeFiles, fileId } from '../../src/image/files.js'
import type { MmEntry, VmaEntry } from '../../src/image/messages.js'
import { auxvValue, decodeMm, describeVma, encodeMm, type MmFacts } from '../../src/image/mm.js'
import { thrownBy, vmaOf } from './fixtures.js'

const EXE = { devMajor: 0xfe, devMinor: 0, inode: 77, path: '/usr/bin/sleep' }

const FACTS: MmFacts = {
  startCode: 0x1000,
  endCode: 0x2000n,
  startData: 0x3000,
  endData: 0x4000,
  startStack: 0x7ffe00000000,
  startBrk: 0x5000,
  brk: 0x6000,
  argStart: 1,
  argEnd: 2,
  envStart: 3,
  envEnd: 4,
  auxv: [6n, 4096n, 25n, 0x7ffe00000010n, 0n, 0n],
  exeFileId: 1,
}

function mmOf(vmas: readonly Vma[], guards: readonly { startPage: number; endPage: number }[] = []): MmEntry {
  return decodeMm(encodeMm(vmas, FACTS, collectFiles(EXE, vmas), 4096, guards), 'mm-1.img')
}

function entryOf(line: string, flags = ''): VmaEntry {
  const [entry] = mmOf([vmaOf(line, flags)]).vmas
  if (entry === undefined) throw new Error('no entry')
  return entry
}

// The expectations are from images that CRIU 4.2 wrote of processes with these lines in maps.
describe('a VMA in CRIU terms', () => {
  it.each([
    ['7000-8000 rw-p 00000000 00:00 0', 0x22, 0x201],
    ['7000-8000 rw-p 00000000 00:00 0  [heap]', 0x22, 0x221],
    ['7000-8000 rw-p 00000000 00:00 0  [stack]', 0x22, 0x201],
    ['7000-8000 r-xp 00000000 00:00 0  [vdso]', 0x22, 0x209],
    ['7000-8000 r--p 00000000 00:00 0  [vvar]', 0x22, 0x1201],
    ['ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0  [vsyscall]', 0x22, 0x204],
    ['7000-8000 r-xp 00002000 fe:00 77  /usr/bin/sleep', 0x02, 0x41],
    ['7000-8000 rw-s 00003000 fe:00 78  /tmp/file.bin', 0x01, 0x81],
    ['7000-8000 rw-p 00000000 fe:00 79  /tmp/gone.bin (deleted)', 0x02, 0x41],
    ['7000-8000 rw-s 00000000 00:01 31  /dev/zero (deleted)', 0x01, 0x4081],
    ['7000-8000 rw-s 00000000 00:01 29  /memfd:my mem (deleted)', 0x01, 0x4081],
    ['7000-8000 rw-p 00002000 00:01 29  /memfd:my mem (deleted)', 0x02, 0x4041],
    ['7000-8000 rw-p 00000000 00:06 4  /dev/zero', 0x02, 0x41],
    ['7000-17000 rw-s 00000000 00:13 9  /[aio] (deleted)', 0x01, 0x2000],
  ])('%s', (line, flags, status) => {
    const entry = entryOf(line)
    expect([entry.flags, entry.status]).toEqual([flags, status])
    expect(entry.fd).toBe(-1n)
  })

  // Read in CRIU's sources; CRIU does not dump SysV memory outside of an IPC namespace.
  it.each([
    ['7000-8000 rw-s 00000000 00:01 5  /SYSV00001234 (deleted)', 0x21, 0x501, 5n],
    ['7000-8000 rw-s 00000000 00:01 6  [anon_shmem:name]', 0x01, 0x4081, 2n],
    ['7000-8000 rw-p 00000000 00:0f 7  /anon_hugepage (deleted)', 0x22, 0x201, 0n],
    ['7000-8000 rw-s 00000000 00:0f 7  /anon_hugepage (deleted)', 0x01, 0x4081, 2n],
    ['7000-8000 rw-s 00000000 00:08 8  socket:[8]', 0x01, 0x801, 8n],
  ])('%s', (line, flags, status, shmid) => {
    const entry = entryOf(line)
    expect([entry.flags, entry.status, entry.shmid]).toEqual([flags, status, shmid])
  })

  it('has protection bits, and an offset in bytes', () => {
    const entry = entryOf('7000-9000 r-xp 0017c000 fe:00 77  /usr/bin/sleep')
    expect(entry).toMatchObject({ start: 0x7000n, end: 0x9000n, prot: 5, pgoff: 0x17c000n })
  })

  it.each([
    ['rd gd', 0x122],
    ['lo', 0x2022],
    ['nr', 0x4022],
    ['ht', 0x40022],
    ['dp', 0x28],
  ])('with VmFlags %s has these MAP_ bits', (words, flags) => {
    expect(entryOf('7000-8000 rw-p 00000000 00:00 0', words).flags).toBe(flags)
  })

  it.each([
    ['rr', 1n],
    ['sr', 2n],
    ['dc', 10n],
    ['mg', 12n],
    ['hg', 14n],
    ['nh', 15n],
    ['dd', 16n],
    ['wf', 18n],
  ])('with VmFlags %s has the bit of that advice', (word, advice) => {
    expect(entryOf('7000-8000 rw-p 00000000 00:00 0', `rd ${word} ac`).madv).toBe(1n << advice)
  })

  it('has no advice field where none is in force, and a mark on a shadow stack', () => {
    const entry = entryOf('7000-8000 rw-p 00000000 00:00 0', 'rd wr ss')
    expect(entry.madv).toBeUndefined()
    expect(entry.status).toBe(0x8201)
  })
})

describe('an mm image', () => {
  it("lists the vvar areas as one, with the first one's flags, and leaves [uprobes] out", () => {
    const { vmas } = mmOf([
      vmaOf('7000-b000 r--p 00000000 00:00 0  [vvar]', 'rd dd'),
      vmaOf('b000-d000 r--p 00000000 00:00 0  [vvar_vclock]', 'rd'),
      vmaOf('d000-e000 r-xp 00000000 00:00 0  [vdso]'),
      vmaOf('f000-10000 --xp 00000000 00:00 0  [uprobes]'),
    ])
    expect(vmas.map(({ start, end, madv }) => [start, end, madv])).toEqual([
      [0x7000n, 0xd000n, 1n << 16n],
      [0xd000n, 0xe000n, undefined],
    ])
  })

  it('lists guard ranges after all VMAs', () => {
    const { vmas } = mmOf([vmaOf('7000-b000 rw-p 00000000 00:00 0')], [{ startPage: 8, endPage: 9 }])
    expect(vmas[1]).toMatchObject({
      start: 0x8000n,
      end: 0x9000n,
      prot: 0,
      flags: 0,
      status: 0x10000,
      fd: -1n,
    })
  })

  it('describes AIO rings as CRIU does: 1022 requests for 64 KiB, 190 for 12 KiB', () => {
    const { aios } = mmOf([
      vmaOf('10000-20000 rw-s 00000000 00:13 9  /[aio] (deleted)'),
      vmaOf('30000-33000 rw-s 00000000 00:13 10  /[aio] (deleted)'),
    ])
    expect(aios).toEqual([
      { id: 0x10000n, nrReq: 1022, ringLen: 65536 },
      { id: 0x30000n, nrReq: 190, ringLen: 12288 },
    ])
  })

  it('keeps the addresses and the auxiliary vector', () => {
    const mm = mmOf([])
    expect(mm).toMatchObject({
      mmStartCode: 0x1000n,
      mmEndCode: 0x2000n,
      mmStartStack: 0x7ffe00000000n,
      mmBrk: 0x6000n,
    })
    expect(mm.mmSavedAuxv).toEqual(FACTS.auxv)
    expect(auxvValue(mm.mmSavedAuxv, 25n)).toBe(0x7ffe00000010n)
    expect(auxvValue(mm.mmSavedAuxv, 7n)).toBeUndefined()
  })

  it('has no more of a long auxiliary vector than CRIU would restore', () => {
    const auxv = Array.from({ length: 46 }, (_, index) => BigInt(index))
    const mm = decodeMm(encodeMm([], { ...FACTS, auxv }, collectFiles(EXE, []), 4096), 'mm-1.img')
    expect(mm.mmSavedAuxv).toEqual(auxv.slice(0, 44))
  })

  it('is described in words for people', () => {
    const entry = entryOf('7000-8000 rw-s 00000000 00:01 29  /memfd:m (deleted)', 'lo')
    expect(describeVma(entry)).toEqual({
      permissions: 'rw-s',
      flags: ['SHARED', 'LOCKED'],
      status: ['VMA_AREA_REGULAR', 'VMA_FILE_SHARED', 'VMA_AREA_MEMFD'],
    })
    expect(describeVma({ ...entry, status: 1 + 2 ** 20 }).status).toEqual(['VMA_AREA_REGULAR', '0x100000'])
  })

  it('that is damaged is a BAD_IMAGE', () => {
    const bytes = Buffer.from(encodeMm([], FACTS, collectFiles(EXE, []), 4096))
    bytes[12] = 0xff
    expect(thrownBy(() => decodeMm(bytes, '/d/mm-1.img'))).toMatchObject({
      code: 'BAD_IMAGE',
      details: { path: '/d/mm-1.img' },
    })
  })
})

describe('the file table', () => {
  const vmas = [
    vmaOf('1000-2000 r-xp 00000000 fe:00 77  /usr/bin/sleep'),
    vmaOf('3000-4000 r--p 00000000 fe:00 80  /lib/libc.so.6'),
    vmaOf('4000-5000 rw-p 00000000 00:00 0'),
    vmaOf('5000-6000 r-xp 00001000 fe:00 80  /lib/libc.so.6'),
    vmaOf('6000-7000 r-xp 00001000 fe:01 80  /lib/libc.so.6'),
    vmaOf('7000-8000 r-xp 00001000 fe:00 80  /lib/other name'),
  ]
  const table = collectFiles(EXE, vmas)

  it('gives the executable id 1, and each device, inode and path one id', () => {
    expect(fileId(table, EXE)).toBe(1)
    expect(vmas.map((vma) => fileId(table, vma))).toEqual([1, 2, undefined, 2, 3, 4])
  })

  it('is what the shmid of file mappings points into', () => {
    const entries = decodeFiles(encodeFiles(table), 'files.img')
    const names = mmOf(vmas).vmas.map(
      ({ shmid }) => entries.find(({ id }) => BigInt(id) === shmid)?.reg?.name,
    )
    expect(names).toEqual(vmas.map((vma) => (vma.path === '' ? undefined : vma.path)))
  })
})
