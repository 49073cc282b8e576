import { describe, expect, test } from '@jest/globals'
import { readDumpRun, STEPS } from '../../bench/dump-run.js'

const RESULT = {
  ...{ pagesStored: 3, bytesStored: 12_288, runs: 2, fullBecause: '' },
  capture: { method: 'fork', why: 'it was asked for' },
  tracker: { name: 'content', why: 'it was asked for' },
  frozen: Object.fromEntries(STEPS.map((step, index) => [`${step}Us`, index])),
  wall: { frozenUs: 36, totalUs: 100 },
}

describe('the figures of a dump', () => {
  test('are taken from its result', () => {
    const run = readDumpRun(JSON.stringify(RESULT))
    expect(STEPS.map((step) => run.frozen[step])).toEqual(STEPS.map((_, index) => index))
    expect(run).toMatchObject({ frozenUs: 36, totalUs: 100, pagesStored: 3, bytesStored: 12_288, runs: 2 })
    expect([run.method, run.tracker]).toEqual(['fork', 'content'])
  })

  test('name no tracker where nothing tracks', () => {
    expect(readDumpRun(JSON.stringify({ ...RESULT, tracker: undefined })).tracker).toBe('')
  })

  test('are missed where a step is missing', () => {
    expect(() => readDumpRun(JSON.stringify({ ...RESULT, frozen: {} }))).toThrow('seizeUs')
  })
})
