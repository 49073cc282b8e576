import { closeSync, constants, fstatSync, openSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from '@jest/globals'
import fc from 'fast-check'
import { memset, munmap } from '../../src/kernel/libc.js'
import { mapStaging, unmapStaging } from '../../src/kernel/staging.js'
import { noMoves, type PageMoves } from '../../src/core/page-moves.js'
import { allocateControl, CREW } from '../../src/tasks/control.js'
import { writeFully, writePages, writeSparsely } from '../../src/tasks/write-pages.js'
import { runsOfPages } from '../core/builders.js'
import { ownBytes, withOwnPages } from '../kernel/own-memory.js'
import { pageSize } from '../support/kernel-vmas.js'
import { withTempDir } from '../support/tool.js'
import { copyIn } from '../victims/libc.js'

const PAGE = pageSize()

/** Runs `use` with the descriptor and path of a new file. */
async function withFile(use: (fd: number, path: string) => void): Promise<void> {
  await withTempDir(async (directory) => {
    const path = join(directory, 'pages-1.img')
    const fd = openSync(path, 'w+')
    try {
      use(fd, path)
    } finally {
      closeSync(fd)
    }
  })
}

/** Fills `pages` pages at `address`, each with bytes of its own number. */
function number(address: number, pages: number): void {
  for (let page = 0; page < pages; page += 1) memset(address + page * PAGE, page + 1, PAGE)
}

/** The moves that bring the pages of `places`, ascending, together at the beginning. */
function movesOf(places: readonly number[]): PageMoves {
  const runs = runsOfPages(places)
  const to = [0]
  for (const [, pages] of runs) to.push((to.at(-1) ?? 0) + pages)
  return {
    count: runs.length,
    fromPage: Float64Array.from(runs, ([from]) => from),
    toPage: Float64Array.from(to),
    beforePages: Float64Array.from(to),
  }
}

describe('writing pages that move', () => {
  const kept = fc.subarray(Array.from({ length: 40 }, (_, place) => place))

  it('brings those that are kept together, and writes none beyond those asked for', async () => {
    await fc.assert(
      fc.asyncProperty(
        kept,
        fc.constantFrom(1, 3, 7, 64),
        fc.constantFrom(1, 1, 0.5),
        async (places, bufferPages, share) => {
          await withFile((fd, path) => {
            withOwnPages(40, (address) => {
              number(address, 40)
              const pages = Math.ceil(places.length * share)
              const job = { kind: 'write', pagesFd: fd, address, moves: movesOf(places) } as const
              const counts = writePages({ ...job, pages, bufferPages }, allocateControl(CREW.words))
              expect(counts).toEqual({ pieces: Math.ceil(pages / bufferPages), pages })
              const expected = places.slice(0, pages).map((place) => Buffer.alloc(PAGE, place + 1))
              expect(readFileSync(path).equals(Buffer.concat(expected))).toBe(true)
            })
          })
        },
      ),
      { numRuns: 80 },
    )
  })

  it('writes only the part of a move that lies below the pages asked for', async () => {
    await withFile((fd, path) => {
      withOwnPages(10, (address) => {
        number(address, 10)
        // Pages 1 and 2 of staging memory come first, then 5 to 9, of which two are written.
        const moves = movesOf([1, 2, 5, 6, 7, 8, 9])
        const job = { kind: 'write', pagesFd: fd, address, moves, pages: 4, bufferPages: 3 } as const
        writePages(job, allocateControl(CREW.words))
        const bytes = [2, 3, 6, 7].map((byte) => Buffer.alloc(PAGE, byte))
        expect(readFileSync(path).equals(Buffer.concat(bytes))).toBe(true)
      })
    })
  })
})

describe('writing pages', () => {
  it.each([1, 3, 10, 64])('writes every byte to its place, in pieces of %d pages', async (piecePages) => {
    await withFile((fd, path) => {
      withOwnPages(10, (address) => {
        number(address, 10)
        const job = { kind: 'write', pagesFd: fd, address } as const
        const control = allocateControl(CREW.words)
        const counts = writePages({ ...job, moves: noMoves(10), pages: 10, bufferPages: piecePages }, control)
        const pieces = Math.ceil(10 / piecePages)
        expect(counts).toEqual({ pieces, pages: 10 })
        expect(Atomics.load(control, CREW.progress)).toBe(pieces)
        expect(readFileSync(path).equals(ownBytes(address, 10 * PAGE))).toBe(true)
      })
    })
  })

  it('writes nothing where there is nothing', async () => {
    await withFile((fd, path) => {
      const nothing = { moves: noMoves(0), pages: 0, bufferPages: 1 }
      const job = { kind: 'write', pagesFd: fd, address: 0, ...nothing } as const
      expect(writePages(job, allocateControl(CREW.words))).toEqual({ pieces: 0, pages: 0 })
      expect(readFileSync(path)).toHaveLength(0)
    })
  })

  it('leaves the pieces that others took to them', async () => {
    await withFile((fd, path) => {
      withOwnPages(4, (address) => {
        number(address, 4)
        const control = allocateControl(CREW.words)
        Atomics.store(control, CREW.next, 2)
        const sizes = { moves: noMoves(4), pages: 4, bufferPages: 1 }
        writePages({ kind: 'write', pagesFd: fd, address, ...sizes }, control)
        const file = readFileSync(path)
        expect(file.subarray(0, 2 * PAGE).equals(Buffer.alloc(2 * PAGE))).toBe(true)
        expect(file.subarray(2 * PAGE).equals(ownBytes(address + 2 * PAGE, 2 * PAGE))).toBe(true)
      })
    })
  })
})

describe('writing sparsely', () => {
  /** Pages of a block that is left out. */
  const HOLE = 16

  it('leaves the same bytes as writing all, wherever zeros lie', async () => {
    const spans = fc.array(fc.record({ pages: fc.integer({ min: 1, max: 40 }), zero: fc.boolean() }), {
      minLength: 1,
      maxLength: 6,
    })
    await fc.assert(
      fc.asyncProperty(spans, fc.integer({ min: 0, max: 3 }), async (parts, filePage) => {
        const pages = parts.reduce((sum, part) => sum + part.pages, 0)
        await withFile((fd, path) => {
          withOwnPages(pages, (address) => {
            let at = 0
            for (const part of parts) {
              if (!part.zero) number(address + at * PAGE, part.pages)
              at += part.pages
            }
            writeSparsely(fd, address, pages, filePage)
            const expected = Buffer.concat([Buffer.alloc(filePage * PAGE), ownBytes(address, pages * PAGE)])
            expect(readFileSync(path).equals(expected)).toBe(true)
          })
        })
      }),
      { numRuns: 60 },
    )
  })

  it('takes no space for blocks of zeros, but a byte that is not zero saves its block', async () => {
    await withFile((fd) => {
      withOwnPages(64 * HOLE, (address) => {
        copyIn(address + 10 * HOLE * PAGE - 1, Buffer.from('1'), 1)
        writeSparsely(fd, address, 64 * HOLE, 0)
        const { size, blocks } = fstatSync(fd)
        expect(size).toBe(64 * HOLE * PAGE)
        // The block with the byte, the last one, and what the file system keeps for itself.
        expect(blocks * 512).toBeLessThan(6 * HOLE * PAGE)
        expect(blocks).toBeGreaterThan(0)
      })
    })
  })
})

describe('writing fully', () => {
  it('writes bytes of any number to any offset', async () => {
    await withFile((fd, path) => {
      withOwnPages(1, (address) => {
        copyIn(address, Buffer.from('tidemark'), 8)
        writeFully(fd, address + 4, 3, 5)
        expect(readFileSync(path)).toEqual(Buffer.from('\0\0\0\0\0mar'))
        writeFully(fd, address, 0, 100)
        expect(readFileSync(path)).toHaveLength(8)
      })
    })
  })

  it('goes on after a write that the kernel cut short', () => {
    // No write moves more than 2 GiB less a page. source: include/linux/fs.h MAX_RW_COUNT
    const byteLength = 2 ** 31 + 2 * PAGE
    const staging = mapStaging(byteLength)
    const fd = openSync('/dev/null', constants.O_WRONLY)
    try {
      expect(() => writeFully(fd, staging.address, byteLength, 0)).not.toThrow()
    } finally {
      closeSync(fd)
      unmapStaging(staging)
    }
  })

  it('fails where it can go no further, with what the kernel says, and keeps what was written', async () => {
    await withFile((fd, path) => {
      withOwnPages(3, (address) => {
        number(address, 3)
        const kept = ownBytes(address, 2 * PAGE)
        munmap(address + 2 * PAGE, PAGE)
        const failing = (): void => writeFully(fd, address, 3 * PAGE, PAGE)
        const details = { syscall: 'pwrite64', errno: 'EFAULT' }
        expect(failing).toThrow(expect.objectContaining({ code: 'WRITE_FAILED', details }))
        expect(readFileSync(path).equals(Buffer.concat([Buffer.alloc(PAGE), kept]))).toBe(true)
      })
    })
  })

  it('goes on behind what was written, not over it', () => {
    // A write into our own memory is cut short where a page is missing.
    const fd = openSync('/proc/self/mem', constants.O_RDWR)
    try {
      withOwnPages(4, (address) => {
        number(address, 2)
        const first = ownBytes(address, PAGE)
        munmap(address + 3 * PAGE, PAGE)
        const details = { syscall: 'pwrite64', errno: 'EIO' }
        expect(() => writeFully(fd, address, 2 * PAGE, address + 2 * PAGE)).toThrow(
          expect.objectContaining({ code: 'WRITE_FAILED', details }),
        )
        expect(ownBytes(address + 2 * PAGE, PAGE).equals(first)).toBe(true)
      })
    } finally {
      closeSync(fd)
    }
  })

  it('fails on a full device with ENOSPC', () => {
    const fd = openSync('/dev/full', constants.O_WRONLY)
    try {
      withOwnPages(1, (address) => {
        const details = { syscall: 'pwrite64', errno: 'ENOSPC' }
        expect(() => writeFully(fd, address, PAGE, 0)).toThrow(
          expect.objectContaining({ code: 'WRITE_FAILED', details }),
        )
      })
    } finally {
      closeSync(fd)
    }
  })
})
