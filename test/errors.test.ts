import { describe, expect, it } from '@jest/globals'
import {
  codeOf,
  errorFromData,
  errorToData,
  EXIT_STATUS,
  isTidemarkError,
  messageOf,
  TidemarkError,
} from '../src/errors.js'

/** What a thread at the other end of a port would get. */
function sentAcross(error: unknown): TidemarkError {
  return errorFromData(structuredClone(errorToData(error)))
}

function noSpace(): NodeJS.ErrnoException {
  return Object.assign(new Error('ENOSPC: no space left'), { code: 'ENOSPC' })
}

describe('an error that crosses a thread', () => {
  it('keeps its code, message and details', () => {
    const details = { pid: 17, path: '/tmp/x', syscall: 'pwrite64', errno: 'ENOSPC', vaddr: '0x7f00' }
    const crossed = sentAcross(new TidemarkError('WRITE_FAILED', 'cannot write; free some space', details))
    expect(crossed).toMatchObject({ code: 'WRITE_FAILED', message: 'cannot write; free some space' })
    expect(crossed.details).toEqual(details)
    expect(isTidemarkError(crossed)).toBe(true)
    expect(crossed.name).toBe('TidemarkError')
  })

  it('keeps the stack of the thread that threw it', () => {
    const error = new TidemarkError('INTERNAL', 'broken')
    error.stack = 'TidemarkError: broken\n    at far away'
    expect(sentAcross(error).stack).toBe('TidemarkError: broken\n    at far away')
  })

  it('keeps the chain of its causes', () => {
    const middle = new TidemarkError('TARGET_DIED', 'gone', { pid: 4 }, noSpace())
    const crossed = sentAcross(new TidemarkError('WORKER_FAILED', 'a thread died', {}, middle))
    expect(crossed).toMatchObject({
      code: 'WORKER_FAILED',
      cause: {
        code: 'TARGET_DIED',
        details: { pid: 4 },
        cause: { code: 'INTERNAL', message: 'ENOSPC: no space left' },
      },
    })
  })

  it('has no cause where it had none', () => {
    const crossed = sentAcross(new TidemarkError('ZOMBIE', 'ended'))
    expect('cause' in crossed).toBe(false)
    expect(crossed.details).toEqual({})
  })

  it('becomes INTERNAL, with message and stack, where it is not ours', () => {
    const foreign = new RangeError('out of range')
    const crossed = sentAcross(foreign)
    expect(crossed).toMatchObject({ code: 'INTERNAL', message: 'out of range', details: {} })
    expect(crossed.stack).toBe(foreign.stack)
    expect(sentAcross(noSpace()).code).toBe('INTERNAL')
  })

  it.each([
    ['a string', 'just text', 'just text'],
    ['undefined', undefined, 'undefined'],
    ['null', null, 'null'],
    ['a number', 42, '42'],
    ['an object with a message', { message: 'odd' }, 'odd'],
  ])('becomes INTERNAL where %s was thrown', (_name, thrown, message) => {
    expect(sentAcross(thrown)).toMatchObject({ code: 'INTERNAL', message })
  })
})

describe('telling an error', () => {
  it('as ours needs the name and a code, not the class', () => {
    expect(isTidemarkError({ name: 'TidemarkError', code: 'ZOMBIE' })).toBe(true)
    expect(isTidemarkError({ name: 'TidemarkError' })).toBe(false)
    expect(isTidemarkError(noSpace())).toBe(false)
    expect([null, undefined, 'TidemarkError', 7].map(isTidemarkError)).toEqual([false, false, false, false])
  })

  it('by its code works for any error that has one in words', () => {
    expect(codeOf(noSpace())).toBe('ENOSPC')
    expect(codeOf(new TidemarkError('BAD_IMAGE', 'bad'))).toBe('BAD_IMAGE')
    expect([new Error('plain'), { code: 7 }, null, undefined, 'text'].map(codeOf)).toEqual(
      Array.from({ length: 5 }, () => undefined),
    )
  })

  it('by its message works for any value', () => {
    expect(messageOf(new Error('plain'))).toBe('plain')
    expect(messageOf({ message: 7 })).toBe('7')
    expect([messageOf(undefined), messageOf(null), messageOf('text')]).toEqual(['undefined', 'null', 'text'])
  })
})

describe('an exit status', () => {
  it('is never that of success, and fits a process', () => {
    const statuses = Object.values(EXIT_STATUS)
    expect(statuses.filter((status) => status < 1 || status > 130)).toEqual([])
  })

  it('of an interruption is that of a shell for SIGINT', () => {
    expect(EXIT_STATUS.INTERRUPTED).toBe(128 + 2)
  })
})
