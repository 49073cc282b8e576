import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from '@jest/globals'

import { encodeInventory, PRE_DUMP_MODE, readInventory } from '../../src/image/inventory.js'
import { inFolder, thrownBy } from './fixtures.js'

const UPTIME = 2n ** 53n + 1n

/** The complaint about the inventory of `folder`, which names the file. */
function complaint(folder: string): string {
  const error = thrownBy(() => readInventory(folder))
  expect(error).toMatchObject({ code: 'BAD_IMAGE', details: { path: join(folder, 'inventory.img') } })
  return String(error)
}

describe('the inventory of an images directory', () => {
  it('is read to the last microsecond, with the mode of a pre-dump and without', async () => {
    await inFolder((folder) => {
      const path = join(folder, 'inventory.img')
      writeFileSync(path, encodeInventory({ dumpUptimeUs: UPTIME }))
      expect(readInventory(folder)).toEqual({ imgVersion: 2, dumpUptime: UPTIME })
      writeFileSync(path, encodeInventory({ dumpUptimeUs: 1n, preDumpMode: PRE_DUMP_MODE.SPLICE }))
      expect(readInventory(folder)).toEqual({ imgVersion: 2, dumpUptime: 1n, preDumpMode: 1 })
    })
  })

  it('is as the format says, byte by byte', () => {
    // Magic, length, then fields 1 (img_version), 8 (dump_uptime) and 9 (pre_dump_mode). source: inventory.proto
    const bytes = encodeInventory({ dumpUptimeUs: 300n, preDumpMode: PRE_DUMP_MODE.READ })
    expect([...bytes]).toEqual([0x16, 0x31, 0x31, 0x58, 7, 0, 0, 0, 8, 2, 0x40, 0xac, 2, 0x48, 2])
  })

  it('that is missing is said to be, with the errno', async () => {
    await inFolder((folder) => {
      expect(complaint(folder)).toContain("can't be read: ENOENT")
      expect(complaint(join(folder, 'nowhere'))).toContain('ENOENT')
      mkdirSync(join(folder, 'inventory.img'))
      expect(complaint(folder)).toContain('EISDIR')
    })
  })

  it('is refused when it is empty, cut off anywhere, another image, or has two messages', async () => {
    await inFolder((folder) => {
      const path = join(folder, 'inventory.img')
      const bytes = encodeInventory({ dumpUptimeUs: UPTIME })
      for (let length = 0; length < bytes.length; length += 1) {
        writeFileSync(path, bytes.subarray(0, length))
        expect(complaint(folder)).not.toBe('')
      }
      writeFileSync(path, Buffer.concat([Buffer.from([0x19, 0x43, 0x56, 0x54]), bytes.subarray(4)]))
      expect(complaint(folder)).toContain('bad magic')
      writeFileSync(path, Buffer.concat([bytes, bytes.subarray(4)]))
      expect(complaint(folder)).toContain(path)
    })
  })
})
