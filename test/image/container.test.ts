import { describe, expect, it } from '@jest/globals'
import fc from 'fast-check'

import {
  frameMessages,
  messageLength,
  messageOffsets,
  unframeMessages,
  unframeSingle,
} from '../../src/image/container.js'
import { PAGEMAP_MAGICS } from '../../src/image/magic.js'
import { detailsOf, thrownBy } from './fixtures.js'

const MAGICS = [0x01020304, 0xfffefdfc]
const MAGIC_BYTES = [4, 3, 2, 1, 0xfc, 0xfd, 0xfe, 0xff]
const messages = fc.array(fc.uint8Array({ maxLength: 300 }), { maxLength: 20 })

describe('framing', () => {
  it('puts little-endian magics first and the length before each message', () => {
    const file = frameMessages(MAGICS, [Uint8Array.of(9, 8), new Uint8Array(0)])
    expect([...file]).toEqual([...MAGIC_BYTES, 2, 0, 0, 0, 9, 8, 0, 0, 0, 0])
  })

  it('begins a pagemap with the numbers of Sarov and Vladimir', () => {
    expect(Buffer.from(frameMessages(PAGEMAP_MAGICS, [])).toString('hex')).toBe('1943565425400856')
  })

  it('gives back any messages that it was given', () => {
    fc.assert(
      fc.property(messages, (list) => {
        const copies = unframeMessages(frameMessages(MAGICS, list), MAGICS, 'x.img')
        expect(copies.map((copy) => [...copy])).toEqual(list.map((message) => [...message]))
      }),
    )
  })

  it('tells where each message is in the file', () => {
    const file = frameMessages([1], [Uint8Array.of(7, 7, 7), Uint8Array.of(5)])
    const offsets = messageOffsets(file, [1], 'x.img')
    expect(offsets).toEqual([8, 15])
    expect(offsets.map((offset) => messageLength(file, offset))).toEqual([3, 1])
  })

  it('reads a view that begins inside of its buffer', () => {
    const file = frameMessages(MAGICS, [Uint8Array.of(1, 2, 3)])
    const shifted = Buffer.concat([Buffer.alloc(3), file]).subarray(3)
    expect(unframeMessages(shifted, MAGICS, 'x.img')).toHaveLength(1)
  })
})

describe('a damaged frame', () => {
  const good = frameMessages(MAGICS, [Uint8Array.of(1, 2, 3), Uint8Array.of(4)])
  const complaint = (bytes: Uint8Array): unknown => thrownBy(() => unframeMessages(bytes, MAGICS, '/d/x.img'))

  it('is a BAD_IMAGE with its path wherever the file is cut, except between two messages', () => {
    for (let length = 0; length < good.length; length++) {
      if (length === 8 || length === 15) continue
      const error = complaint(good.subarray(0, length))
      expect(error).toMatchObject({ code: 'BAD_IMAGE', details: { path: '/d/x.img' } })
      expect(String(error)).toMatch(/\/d\/x\.img: .*truncated/)
    }
  })

  it('says which magic was found and which was expected', () => {
    const bytes = Uint8Array.from(good)
    bytes[4] = 0
    expect(String(complaint(bytes))).toContain('bad magic 0xfffefd00 at offset 4, expected 0xfffefdfc')
  })

  it('says how long a message claims to be and how much is there', () => {
    const bytes = Buffer.concat([good, Uint8Array.of(0xff, 0xff, 0xff, 0xff, 1)])
    expect(String(complaint(bytes))).toContain('at offset 20 says 4294967295 bytes, the file has 1 more')
  })

  it('names the bytes after the last message', () => {
    const error = complaint(Buffer.concat([good, Uint8Array.of(0, 0)]))
    expect(String(error)).toContain('2 trailing bytes at offset 20')
    expect(detailsOf(error)).toEqual({ path: '/d/x.img' })
  })

  it('has none or two messages where one is expected', () => {
    expect(String(thrownBy(() => unframeSingle(good, MAGICS, 'x.img')))).toContain('1 trailing messages')
    const empty = frameMessages(MAGICS, [])
    expect(String(thrownBy(() => unframeSingle(empty, MAGICS, 'x.img')))).toContain('holds no message')
  })
})
