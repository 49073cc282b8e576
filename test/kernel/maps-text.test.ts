import { readFileSync } from 'node:fs'
import { describe, expect, it } from '@jest/globals'
import fc from 'fast-check'
import { vmaPermissions, type Vma } from '../../src/core/vma.js'
import { addVmFlags, parseMaps, reuseVmFlags, swaplessWatched } from '../../src/kernel/maps-text.js'
import { vmaOfLine } from '../core/builders.js'

function parse(text: string, pageSize = 4096): Vma[] {
  return parseMaps(Buffer.from(text), pageSize)
}

/** `vma` as maps prints it, with the padding before the path. source: fs/proc/task_mmu.c show_map_vma */
function printVma(vma: Vma): string {
  const hex = (value: number | bigint, digits: number): string => value.toString(16).padStart(digits, '0')
  const address = (page: number): string => hex(BigInt(page) * 4096n, 8)
  const head = [
    `${address(vma.startPage)}-${address(vma.endPage)}`,
    vmaPermissions(vma),
    hex(vma.fileOffset, 8),
    `${hex(vma.devMajor, 2)}:${hex(vma.devMinor, 2)}`,
    `${String(vma.inode)} `,
  ].join(' ')
  return vma.path === '' ? `${head}\n` : `${head.padEnd(73)}${vma.path.replaceAll('\n', '\\012')}\n`
}

/** Paths as the kernel may print them; a backslash followed by 012 in a name cannot be told from a newline. */
const paths = fc.oneof(
  fc.constantFrom(
    '',
    '[heap]',
    '[stack]',
    '[vdso]',
    '[anon:a b]',
    '/tmp/a b (deleted)',
    '/ x',
    '//',
    '/a\nb',
  ),
  fc
    .string({ unit: fc.constantFrom('a', 'Z', ' ', '\n', '\\', '-', ':', 'é', '漢', '\t', '\r', '0') })
    .filter((name) => !name.includes('\\012'))
    .map((name) => `/d${name}`),
)

/** VMAs in address order, up to the end of the address space. */
const vmaLists = fc
  .array(
    fc.record({
      gap: fc.oneof(fc.constant(0), fc.nat({ max: 2 ** 44 })),
      pages: fc.oneof(fc.integer({ min: 1, max: 9 }), fc.integer({ min: 1, max: 2 ** 44 })),
      rights: fc.tuple(fc.boolean(), fc.boolean(), fc.boolean(), fc.boolean()),
      fileOffset: fc.nat({ max: 2 ** 40 }).map((page) => page * 4096),
      devMajor: fc.nat({ max: 4095 }),
      devMinor: fc.nat({ max: 2 ** 20 - 1 }),
      inode: fc.oneof(fc.constant(0), fc.maxSafeNat()),
      path: paths,
    }),
    { maxLength: 20 },
  )
  .map((pieces) => {
    let at = 0
    return pieces.map(({ gap, pages, rights, fileOffset, devMajor, devMinor, inode, path }): Vma => {
      const startPage = at + gap
      at = startPage + pages
      const [read, write, execute, shared] = rights
      const numbers = { startPage, endPage: at, fileOffset, devMajor, devMinor, inode }
      return { ...numbers, read, write, execute, shared, path, flags: undefined }
    })
  })

describe('parsing maps', () => {
  it('reads every column of a line', () => {
    expect(
      parse('7f12345f7000-7f12345f9000 r-xs 0001e000 103:1f 4294967297                 /usr/lib/x.so\n'),
    ).toEqual([
      {
        startPage: 0x7f12345f7,
        endPage: 0x7f12345f9,
        read: true,
        write: false,
        execute: true,
        shared: true,
        fileOffset: 0x1e000,
        devMajor: 0x103,
        devMinor: 0x1f,
        inode: 4294967297,
        path: '/usr/lib/x.so',
        flags: undefined,
      },
    ])
  })

  it('finds no path where the line ends after the inode', () => {
    const lines = ['10000-11000 rw-p 00000000 00:00 0 \n', '11000-12000 ---p 00000000 00:00 0\n']
    expect(parse(lines.join('')).map(({ startPage, path }) => [startPage, path])).toEqual([
      [16, ''],
      [17, ''],
    ])
  })

  it.each([
    ['blanks', '/tmp/two  blanks and one at the end ', '/tmp/two  blanks and one at the end '],
    ['a newline', '/tmp/a\\012b\\012', '/tmp/a\nb\n'],
    ['a backslash', '/tmp/a\\134\\n\\', '/tmp/a\\134\\n\\'],
    ['a carriage return', '/tmp/a\r', '/tmp/a\r'],
    ['a deleted file', '/tmp/gone (deleted)', '/tmp/gone (deleted)'],
    ['letters of any alphabet', '/tmp/é漢🙂', '/tmp/é漢🙂'],
    ['brackets', '[anon:my heap]', '[anon:my heap]'],
    ['what looks like another line', '/10000-20000 rw-p 0 0:0 0', '/10000-20000 rw-p 0 0:0 0'],
  ])('reads a path with %s', (_name, printed, path) => {
    const lines = `10000-11000 rw-p 00000000 00:00 5 ${' '.repeat(30)}${printed}\n20000-21000 rw-p 00000000 00:00 0 \n`
    expect(parse(lines).map((vma) => vma.path)).toEqual([path, ''])
  })

  it('reads the page of [vsyscall], above 2^53 bytes, exactly', () => {
    const [vma] = parse(
      'ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]\n',
    )
    expect([vma?.startPage, vma?.endPage]).toEqual([0xffffffffff600, 0xffffffffff601])
    expect([BigInt(vma?.startPage ?? 0) << 12n, vma?.path]).toEqual([0xffffffffff600000n, '[vsyscall]'])
  })

  it('takes a last line without a newline', () => {
    const texts = [
      '10000-11000 rw-p 00000000 00:00 7 /tmp/x',
      '10000-11000 rw-p 00000000 00:00 7 ',
      '10000-11000 rw-p 00000000 00:00 7',
    ]
    expect(texts.map((text) => parse(text).map(({ inode, path }) => [inode, path]))).toEqual([
      [[7, '/tmp/x']],
      [[7, '']],
      [[7, '']],
    ])
  })

  it('finds nothing in an empty text', () => {
    expect(parse('')).toEqual([])
  })

  it('counts in pages of the size it is told', () => {
    const [vma] = parse('7fff0000-80010000 rw-p 00010000 00:00 0 \n', 65_536)
    expect([vma?.startPage, vma?.endPage, vma?.fileOffset]).toEqual([0x7fff, 0x8001, 0x10000])
  })

  it('reads back whatever the kernel prints', () => {
    fc.assert(
      fc.property(vmaLists, (vmas) => {
        expect(parse(vmas.map(printVma).join(''))).toEqual(vmas)
      }),
      { numRuns: 300 },
    )
  })

  it('sees in the maps of this process what a regular expression sees', () => {
    const text = readFileSync('/proc/self/maps')
    const lines = text.toString('utf8').trimEnd().split('\n')
    expect(lines.length).toBeGreaterThan(20)
    expect(parseMaps(text, 4096)).toEqual(lines.map((line) => vmaOfLine(line)))
  })
})

const SMAPS_BODY = 'Size:                  4 kB\nRss:                   4 kB\nTHPeligible:           0\n'

/** Text of smaps: a line of maps and flags for each VMA. */
function smapsOf(entries: readonly (readonly [line: string, flags: string])[]): Buffer {
  return Buffer.from(entries.map(([line, flags]) => `${line}\n${SMAPS_BODY}VmFlags: ${flags} \n`).join(''))
}

function flagsOf(vmas: readonly Vma[]): (string[] | undefined)[] {
  return vmas.map(({ flags }) => (flags === undefined ? undefined : [...flags]))
}

const A = '10000-12000 rw-p 00000000 00:00 0 '
const B = '12000-13000 r--p 00000000 fe:00 77                         /tmp/b'
const C = '20000-28000 rw-s 00000000 00:06 9                          /dev/c'

describe('adding flags', () => {
  it('gives each VMA the words of its own lines', () => {
    const vmas = parse([A, B, C].join('\n'))
    const smaps = smapsOf([
      [A, 'rd wr mr mw me ac'],
      [B, 'rd mr mw me'],
      [C, 'rd wr sh pf io'],
    ])
    expect(flagsOf(addVmFlags(vmas, smaps, 4096))).toEqual([
      ['rd', 'wr', 'mr', 'mw', 'me', 'ac'],
      ['rd', 'mr', 'mw', 'me'],
      ['rd', 'wr', 'sh', 'pf', 'io'],
    ])
    expect(flagsOf(vmas)).toEqual([undefined, undefined, undefined])
  })

  it('gives none to a VMA that has vanished, and ignores one that is new', () => {
    const vmas = parse([A, B, C].join('\n'))
    const smaps = smapsOf([
      [A, 'rd wr'],
      ['14000-15000 rw-p 00000000 00:00 0 ', 'io'],
      [C, 'sh'],
    ])
    expect(flagsOf(addVmFlags(vmas, smaps, 4096))).toEqual([['rd', 'wr'], undefined, ['sh']])
  })

  it('gives none to a VMA that was split, joined, moved or has grown', () => {
    const vmas = parse([A, B, C].join('\n'))
    const smaps = smapsOf([
      ['10000-11000 rw-p 00000000 00:00 0 ', 'rd'],
      ['11000-13000 rw-p 00000000 00:00 0 ', 'wr'],
      ['20000-29000 rw-s 00000000 00:06 9 ', 'sh'],
    ])
    expect(flagsOf(addVmFlags(vmas, smaps, 4096))).toEqual([undefined, undefined, undefined])
  })

  it('finds the flags of [vsyscall]', () => {
    const line = 'ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]'
    expect(flagsOf(addVmFlags(parse(line), smapsOf([[line, 'ex']]), 4096))).toEqual([['ex']])
  })

  it.each(['/tmp/VmFlags: io pf', '[anon:VmFlags: dp]', 'VmFlags:'])(
    'is not misled by a mapping that is called %s',
    (path) => {
      const odd = `12000-13000 r--p 00000000 fe:00 77                         ${path}`
      const smaps = smapsOf([
        [A, 'rd wr'],
        [odd, 'rd mr'],
        [C, 'sh'],
      ])
      const flags = flagsOf(addVmFlags(parse([A, odd, C].join('\n')), smaps, 4096))
      expect(flags).toEqual([['rd', 'wr'], ['rd', 'mr'], ['sh']])
    },
  )

  it('stops at a text that was cut off', () => {
    const whole = smapsOf([
      [A, 'rd wr'],
      [B, 'rd mr'],
    ])
    const vmas = parse([A, B].join('\n'))
    const cut = whole.subarray(0, whole.indexOf('Rss', whole.indexOf('/tmp/b')))
    expect(flagsOf(addVmFlags(vmas, cut, 4096))).toEqual([['rd', 'wr'], undefined])
    expect(flagsOf(addVmFlags(vmas, Buffer.alloc(0), 4096))).toEqual([undefined, undefined])
  })

  it('sees in the smaps of this process what a regular expression sees', () => {
    const smaps = readFileSync('/proc/self/smaps')
    const entries = [
      ...smaps.toString('utf8').matchAll(/^([0-9a-f]+-[0-9a-f]+ .*)$(?:\n.*?)*?\nVmFlags: (.*)$/gm),
    ]
    const lines = entries.map((entry) => entry[1] ?? '')
    expect(lines.length).toBeGreaterThan(20)
    const vmas = addVmFlags(parse(lines.join('\n')), smaps, 4096)
    expect(flagsOf(vmas)).toEqual(entries.map((entry) => (entry[2] ?? '').trim().split(' ')))
  })
})

describe('watched VMAs without swap', () => {
  it('are those with a flag of userfaultfd of which smaps counts nothing in swap', () => {
    const entry = (start: number, swapKb: number, flags: string): string =>
      `${start.toString(16)}000-${(start + 2).toString(16)}000 rw-p 00000000 00:00 0  /um uw\n` +
      `Size: 8 kB\nSwap:  ${String(swapKb)} kB\nSwapPss: 0 kB\nVmFlags: rd wr ${flags}\n`
    const text = [
      entry(0x10, 0, 'um '),
      entry(0x20, 4, 'uw '),
      entry(0x30, 0, 'mr mw '),
      entry(0x40, 0, 'uw sd '),
      entry(0x50, 40, 'ui '),
      entry(0x60, 0, 'ui'),
    ]
    expect(swaplessWatched(Buffer.from(text.join('')), 4096)).toEqual([0x10, 0x12, 0x40, 0x42, 0x60, 0x62])
    expect(swaplessWatched(Buffer.from(''), 4096)).toEqual([])
  })
})

describe('reusing flags', () => {
  const known = addVmFlags(
    parse([A, B, C].join('\n')),
    smapsOf([
      [A, 'rd wr'],
      [B, 'rd mr'],
      [C, 'sh io'],
    ]),
    4096,
  )

  it('keeps those of every line that has not changed', () => {
    expect(reuseVmFlags(parse([A, B, C].join('\n')), known)).toEqual(known)
    const more = ['8000-9000 rw-p 00000000 00:00 0 ', A, B, '18000-19000 rw-p 00000000 00:00 0 ', C]
    expect(flagsOf(reuseVmFlags(parse(more.join('\n')), known))).toEqual([
      undefined,
      ['rd', 'wr'],
      ['rd', 'mr'],
      undefined,
      ['sh', 'io'],
    ])
    expect(flagsOf(reuseVmFlags(parse(C), known))).toEqual([['sh', 'io']])
  })

  it.each([
    ['begins elsewhere', '11000-13000 r--p 00000000 fe:00 77 /tmp/b'],
    ['ends elsewhere', '12000-14000 r--p 00000000 fe:00 77 /tmp/b'],
    ['may not be read any more', '12000-13000 ---p 00000000 fe:00 77 /tmp/b'],
    ['may be written', '12000-13000 rw-p 00000000 fe:00 77 /tmp/b'],
    ['may be executed', '12000-13000 r-xp 00000000 fe:00 77 /tmp/b'],
    ['is shared', '12000-13000 r--s 00000000 fe:00 77 /tmp/b'],
    ['shows another part of the file', '12000-13000 r--p 00001000 fe:00 77 /tmp/b'],
    ['is on another kind of device', '12000-13000 r--p 00000000 ff:00 77 /tmp/b'],
    ['is on another device', '12000-13000 r--p 00000000 fe:01 77 /tmp/b'],
    ['is another file', '12000-13000 r--p 00000000 fe:00 78 /tmp/b'],
    ['has another name', '12000-13000 r--p 00000000 fe:00 77 /tmp/b (deleted)'],
    ['is anonymous memory now', '12000-13000 r--p 00000000 00:00 0 '],
  ])('gives none to a VMA that %s', (_name, line) => {
    expect(flagsOf(reuseVmFlags(parse(line), known))).toEqual([undefined])
  })

  it('gives none where none were known', () => {
    expect(flagsOf(reuseVmFlags(parse(A), parse(A)))).toEqual([undefined])
    expect(flagsOf(reuseVmFlags(parse(A), []))).toEqual([undefined])
  })

  it('finds each unchanged line among any others', () => {
    fc.assert(
      fc.property(vmaLists, fc.infiniteStream(fc.boolean()), (vmas, kept) => {
        const before = vmas.map((vma, index): Vma => ({ ...vma, flags: new Set([`f${String(index)}`]) }))
        const survivors = before.filter(() => kept.next().value === true)
        const reused = flagsOf(reuseVmFlags(vmas, survivors))
        const expected = before.map((vma) => (survivors.includes(vma) ? [...(vma.flags ?? [])] : undefined))
        expect(reused).toEqual(expected)
      }),
    )
  })
})
