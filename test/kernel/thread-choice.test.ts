import { describe, expect, it } from '@jest/globals'
import { isInside, statusWords } from '../../src/kernel/thread-choice.js'

describe('the words of a status line', () => {
  it('tell of a shadow stack among other features', () => {
    expect(statusWords('shstk wrss')).toEqual(['shstk', 'wrss'])
    expect(statusWords('')).toEqual([])
    expect(statusWords(undefined)).toEqual([])
  })
})

describe('a restartable sequence', () => {
  it('holds its first instruction and not the one behind its last', () => {
    const section = { start: 0x1000, length: 0x20 }
    const places = [0xfff, 0x1000, 0x101f, 0x1020]
    expect(places.map((rip) => isInside(rip, section))).toEqual([false, true, true, false])
  })
})
