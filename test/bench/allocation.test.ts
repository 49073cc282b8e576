import { describe, expect, test } from '@jest/globals'
import { countAllocation } from '../../bench/allocation.js'

const MIB = 2 ** 20

describe('counting what a function allocates', () => {
  let last: unknown

  test('a function that allocates nothing costs next to nothing', () => {
    expect(countAllocation(() => 0).heapBytes).toBeLessThan(MIB)
  })

  test('what was collected meanwhile counts', () => {
    const { heapBytes } = countAllocation(() => {
      for (let index = 0; index < 1e6; index++) last = { index, before: last === undefined }
    })
    expect(heapBytes / 1e6).toBeGreaterThan(16)
    expect(heapBytes / 1e6).toBeLessThan(160)
  })

  test('a buffer counts beside the heap', () => {
    const { bufferBytes, heapBytes } = countAllocation(() => {
      last = new Uint8Array(8 * MIB)
    })
    expect(bufferBytes).toBe(8 * MIB)
    expect(heapBytes).toBeLessThan(MIB)
  })
})
