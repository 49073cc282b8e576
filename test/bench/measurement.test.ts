import { describe, expect, test } from '@jest/globals'
import { estimateSeconds } from '../../bench/estimate.js'
import { isDone, measuredOf } from '../../bench/measurement.js'
import { parseMeasured, resultsOf } from '../../bench/results.js'
import { SHAPES, shapeNamed } from '../../bench/shapes.js'
import { isStopped, stoppedBetween } from '../../bench/stopped-time.js'
import { parseSuiteOptions } from '../../bench/suite-options.js'
import { estimatePlan, planSuite } from '../../bench/suite-plan.js'
import { measured, run, spread } from './measured.js'

const PLACE = { shape: '1g-100', target: 'tmpfs' }
const MACHINE = { cpu: '', cores: 2, memoryBytes: 1, kernel: '', node: '', thp: '', date: '' }

describe('taking runs', () => {
  test('disturbed runs are taken again while there is time', () => {
    const tally = { candidate: 'criu', runs: [run(1), run(2, 0.5)] }
    expect(isDone(tally, 2, false)).toBe(false)
    expect(isDone(tally, 2, true)).toBe(true)
    expect(isDone({ ...tally, runs: [run(1)] }, 2, true)).toBe(false)
    expect(isDone({ ...tally, runs: [...tally.runs, run(3)] }, 2, false)).toBe(true)
  })

  test('a candidate that failed is done, and its line says why', () => {
    const tally = { candidate: 'criu', runs: [], failure: 'no such file' }
    expect(isDone(tally, 2, false)).toBe(true)
    expect(measuredOf(tally, 2, PLACE)).toMatchObject({
      runs: 0,
      notes: ['failed: no such file'],
      figures: {},
    })
  })

  test('a note that several runs have is kept once', () => {
    const noted = { ...run(1), note: 'fell back' }
    const line = measuredOf({ candidate: 'tidemark fork', runs: [noted, noted, run(9, 0.9)] }, 2, PLACE)
    expect(line).toMatchObject({ runs: 2, rejected: 1, disturbed: false, notes: ['fell back'] })
  })
})

describe('time stopped, seen from outside', () => {
  test('the state is behind a name that may hold anything', () => {
    expect(isStopped('12 (node) t 1 12')).toBe(true)
    expect(isStopped('12 (a) t b) S 1 12')).toBe(false)
    expect(isStopped('12 (x) T 1')).toBe(true)
  })

  test('where only one of two looks saw a stop, half of the time between counts', () => {
    const look = (at: number, stopped: boolean) => ({ at, stopped })
    expect(stoppedBetween(look(1, true), look(3, true))).toBe(2)
    expect(stoppedBetween(look(1, false), look(3, true))).toBe(1)
    expect(stoppedBetween(look(1, false), look(3, false))).toBe(0)
  })
})

describe('the plan', () => {
  test('without options the benchmark takes less than 20 minutes', async () => {
    const options = await parseSuiteOptions([])
    const plan = planSuite(options)
    expect(new Set(plan.full.map(({ shape }) => shape.name)).size).toBe(SHAPES.length)
    expect(estimatePlan(plan, options.runs)).toBeLessThan(20 * 60)
  })

  test('the same is so with CRIU and gcore beside it, give or take', async () => {
    const options = await parseSuiteOptions(['--against', 'criu=criu', '--against', 'gcore'])
    expect(estimatePlan(planSuite(options), options.runs)).toBeLessThan(22 * 60)
  })

  test('more runs take longer', () => {
    const shape = shapeNamed('4g-1000')
    expect(estimateSeconds(shape, ['criu'], 5)).toBeGreaterThan(estimateSeconds(shape, ['criu'], 1))
  })

  test('a shape and a tool that are not there are refused', async () => {
    expect(() => shapeNamed('2g')).toThrow('no shape 2g')
    const options = await parseSuiteOptions(['--against', 'dmtcp=x'])
    expect(() => planSuite(options)).toThrow('--against dmtcp=x')
  })
})

describe('the file of results', () => {
  test('it is read as it was written', () => {
    const lines = [measured({ frozen: spread(3, 1, 5) }, { notes: ['a note'] })]
    expect(parseMeasured(JSON.stringify(resultsOf(MACHINE, 5, lines)), 'a.json')).toEqual(lines)
  })

  test('another file is refused by its name', () => {
    expect(() => parseMeasured('{}', 'a.json')).toThrow('a.json: no results')
    const broken = { ...resultsOf(MACHINE, 5, []), measured: [{ shape: 1 }] }
    expect(() => parseMeasured(JSON.stringify(broken), 'a.json')).toThrow('a.json: not a measurement')
  })
})
