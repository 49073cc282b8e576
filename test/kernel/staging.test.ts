import { readFileSync } from 'node:fs'
import { describe, expect, it } from '@jest/globals'
import { mapStaging, populate, unmapStaging } from '../../src/kernel/staging.js'
import { pageSize, parseSmaps, type KernelVma } from '../support/kernel-vmas.js'
import { ownBytes } from './own-memory.js'
import { slowPages } from './slow-pagemap.js'

const PAGE = pageSize()
const MIB = 2 ** 20

function vmasBetween(address: number, end: number): KernelVma[] {
  return parseSmaps(readFileSync('/proc/self/smaps', 'latin1')).filter(
    (vma) => vma.startPage * PAGE < end && vma.endPage * PAGE > address,
  )
}

/** Number of pages of ours that are there. */
function populatedPages(address: number, pages: number): number {
  return slowPages(process.pid, address / PAGE, address / PAGE + pages).filter(({ present }) => present)
    .length
}

describe('staging memory', () => {
  it.each([1, PAGE, 3 * PAGE, 2 * MIB, 5 * MIB + 17])(
    'of %d bytes is aligned, and all of it is ours',
    (length) => {
      const staging = mapStaging(length)
      try {
        expect(staging.address % (2 * MIB)).toBe(0)
        expect(staging.byteLength).toBe(length)
        const covered = vmasBetween(staging.address, staging.address + length)
        expect((covered[0]?.startPage ?? Infinity) * PAGE).toBeLessThanOrEqual(staging.address)
        expect((covered.at(-1)?.endPage ?? 0) * PAGE).toBeGreaterThanOrEqual(staging.address + length)
        expect(covered.every(({ shared, fileBacked }) => !shared && !fileBacked)).toBe(true)
      } finally {
        unmapStaging(staging)
      }
    },
  )

  it('takes no memory until it is populated, and then all of it, as zeros', () => {
    const staging = mapStaging(4 * MIB)
    try {
      expect(populatedPages(staging.address, (4 * MIB) / PAGE)).toBe(0)
      populate(staging.address, 4 * MIB)
      expect(populatedPages(staging.address, (4 * MIB) / PAGE)).toBe((4 * MIB) / PAGE)
      expect(ownBytes(staging.address, 4 * MIB).equals(Buffer.alloc(4 * MIB))).toBe(true)
    } finally {
      unmapStaging(staging)
    }
  })

  it('is populated piece by piece, and not at all for no bytes', () => {
    const staging = mapStaging(8 * MIB)
    try {
      populate(staging.address, 0)
      populate(staging.address + 2 * MIB, -PAGE)
      expect(populatedPages(staging.address, (8 * MIB) / PAGE)).toBe(0)
      populate(staging.address + 4 * MIB, 2 * MIB)
      expect(populatedPages(staging.address, (4 * MIB) / PAGE)).toBe(0)
      expect(populatedPages(staging.address + 4 * MIB, (2 * MIB) / PAGE)).toBe((2 * MIB) / PAGE)
      expect(populatedPages(staging.address + 6 * MIB, (2 * MIB) / PAGE)).toBe(0)
    } finally {
      unmapStaging(staging)
    }
  })

  it('is kept out of core dumps, since it holds the secrets of the target', () => {
    const staging = mapStaging(4 * MIB)
    try {
      const flags = vmasBetween(staging.address, staging.address + 4 * MIB).map((vma) => vma.flags.has('dd'))
      expect(new Set(flags)).toEqual(new Set([true]))
    } finally {
      unmapStaging(staging)
    }
  })

  it('is given back whole', () => {
    const staging = mapStaging(4 * MIB)
    const { address, byteLength } = staging.mapping
    populate(staging.address, 4 * MIB)
    expect(populatedPages(address, byteLength / PAGE)).toBeGreaterThan(0)
    unmapStaging(staging)
    const left = vmasBetween(address, address + byteLength).filter(
      (vma) => vma.flags.has('dd') || populatedPages(vma.startPage * PAGE, 1) > 0,
    )
    expect(left).toEqual([])
  })

  it('that does not fit the address space is refused with a remedy', () => {
    expect(() => mapStaging(2 ** 50)).toThrow(
      expect.objectContaining({
        code: 'SYSCALL_FAILED',
        message: expect.stringMatching(/ENOMEM; lower --max-memory$/),
      }),
    )
  })
})
