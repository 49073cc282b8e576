import { describe, expect, it } from '@jest/globals'
import fc from 'fast-check'

import { decodeMessage, encodeMessage } from '../../src/image/schema.js'

const u64 = fc.bigInt({ min: 0n, max: 0xffffffffffffffffn })
const u32 = fc.nat({ max: 0xffffffff })

const vma = fc.record(
  {
    start: u64,
    end: u64,
    pgoff: u64,
    shmid: u64,
    prot: u32,
    flags: u32,
    status: u32,
    fd: fc.constant(-1n),
    madv: u64,
  },
  { requiredKeys: ['start', 'end', 'pgoff', 'shmid', 'prot', 'flags', 'status', 'fd'] },
)

/** The varint of `value`, written out from the protobuf specification. */
function varint(value: bigint): number[] {
  return value < 0x80n ? [Number(value)] : [Number((value & 0x7fn) | 0x80n), ...varint(value >> 7n)]
}

describe('the schema', () => {
  it('numbers the fields of an inventory as CRIU does', () => {
    const bytes = encodeMessage('inventory_entry', { imgVersion: 2, dumpUptime: 300n, preDumpMode: 2 })
    expect([...bytes]).toEqual([0x08, 2, 0x40, ...varint(300n), 0x48, 2])
  })

  it('numbers the fields of a dump statistics message as CRIU does', () => {
    const dump = {
      freezingTime: 1,
      frozenTime: 2,
      memdumpTime: 3,
      memwriteTime: 4,
      pagesScanned: 5n,
      pagesSkippedParent: 6n,
      pagesWritten: 7n,
      pagesLazy: 8n,
    }
    const body = [0x08, 1, 0x10, 2, 0x18, 3, 0x20, 4, 0x28, 5, 0x30, 6, 0x38, 7, 0x48, 8]
    expect([...encodeMessage('stats_entry', { dump })]).toEqual([0x0a, body.length, ...body])
  })

  it('keeps every 64-bit value exact, up to the last address', () => {
    fc.assert(
      fc.property(fc.array(vma, { maxLength: 5 }), u64, fc.array(u64), (vmas, address, auxv) => {
        const message = {
          mmStartCode: address,
          mmEndCode: 0xffffffffffffffffn,
          mmStartData: 0n,
          mmEndData: 0x7fffffffffffffffn,
          mmStartStack: 0x8000000000000000n,
          mmStartBrk: 0x1fffffffffffffn,
          mmBrk: 0x20000000000001n,
          mmArgStart: 1n,
          mmArgEnd: 2n,
          mmEnvStart: 3n,
          mmEnvEnd: 4n,
          exeFileId: 1,
          mmSavedAuxv: auxv,
          vmas,
          aios: [{ id: address, nrReq: 62, ringLen: 4096 }],
        }
        expect(decodeMessage('mm_entry', encodeMessage('mm_entry', message))).toEqual(message)
      }),
    )
  })

  it('skips fields that it does not know', () => {
    expect(decodeMessage('pagemap_head', Uint8Array.of(0x08, 5, 0xfa, 0x3f, 1, 9))).toEqual({ pagesId: 5 })
  })

  it('refuses a message without a required field', () => {
    expect(() => decodeMessage('pstree_entry', Uint8Array.of(0x08, 5))).toThrow("missing required 'ppid'")
  })
})
