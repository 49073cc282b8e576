import { describe, expect, it } from '@jest/globals'
import { settle, throwIfAborted } from '../../src/engine/options.js'
import { dump, type DumpOptions } from '../../src/index.js'

/** Options as a caller without a compiler may give them. */
function unchecked(text: string): DumpOptions {
  const options: unknown = JSON.parse(text)
  if (!isOptions(options)) throw new Error(text)
  return options
}

function isOptions(value: unknown): value is DumpOptions {
  return typeof value === 'object' && value !== null
}

describe('options', () => {
  it.each(['{"pid":1}', '{"pid":1,"imagesDir":null}', '{"pid":1,"imagesDir":7}', '{"pid":1,"imagesDir":""}'])(
    'without a name of the images directory are refused: %s',
    async (text) => {
      const error = { code: 'BAD_OPTION', details: { option: 'imagesDir' } }
      await expect(dump(unchecked(text))).rejects.toMatchObject(error)
      expect(() => settle(unchecked(text), 'dump')).toThrow(expect.objectContaining(error))
    },
  )
})

describe('an abort', () => {
  it('keeps its reason as the cause, and names a signal', () => {
    const reason = new Error('out of time')
    expect(() => {
      throwIfAborted(AbortSignal.abort(reason))
    }).toThrow(expect.objectContaining({ code: 'INTERRUPTED', cause: reason }))
    expect(() => {
      throwIfAborted(AbortSignal.abort('SIGTERM'))
    }).toThrow(expect.objectContaining({ code: 'INTERRUPTED', details: { signal: 'SIGTERM' } }))
    expect(() => {
      throwIfAborted(new AbortController().signal)
    }).not.toThrow()
  })
})
