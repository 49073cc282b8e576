import { describe, expect, it } from '@jest/globals'
import fc from 'fast-check'
import { findVma, vmaPages, vmaPermissions, type Vma } from '../../src/core/vma.js'
import { vmaOfLine } from './builders.js'

/** VMAs in address order, some touching each other. */
const spaces = fc
  .array(fc.tuple(fc.nat({ max: 3 }), fc.integer({ min: 1, max: 5 })), { maxLength: 12 })
  .map((pieces) => {
    let at = 0
    return pieces.map(([gap, pages]): Vma => {
      const startPage = at + gap
      at = startPage + pages
      return { ...vmaOfLine('0-1000 rw-p 0 0:0 0'), startPage, endPage: at }
    })
  })

describe('a VMA', () => {
  it('tells its pages, also of [vsyscall] at the end of the address space', () => {
    expect(vmaPages(vmaOfLine('ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0 [vsyscall]'))).toBe(1)
    expect(vmaPages(vmaOfLine('10000-7fff00000000 ---p 00000000 00:00 0'))).toBe(0x7fff00000000 / 4096 - 16)
  })

  it.each(['r--p', 'rw-p', 'r-xp', 'rwxs', '---p', '-w-s', '--xp'])(
    'prints its permissions as maps does: %s',
    (permissions) => {
      expect(vmaPermissions(vmaOfLine(`1000-2000 ${permissions} 00000000 00:00 0`))).toBe(permissions)
    },
  )
})

describe('finding a VMA', () => {
  it('gives the index of the one that holds the page, or -1 in a gap', () => {
    fc.assert(
      fc.property(spaces, (vmas) => {
        const end = (vmas.at(-1)?.endPage ?? 0) + 2
        for (let page = 0; page < end; page++) {
          const index = vmas.findIndex((vma) => vma.startPage <= page && page < vma.endPage)
          expect([page, findVma(vmas, page)]).toEqual([page, index])
        }
      }),
    )
  })
})
