import { Worker } from 'node:worker_threads'
import { describe, expect, it } from '@jest/globals'
import { allocateControl, CREW, FREEZER, FREEZER_STATE, takePiece } from '../../src/tasks/control.js'

describe('a control block', () => {
  it('is made of zeros, in memory that every thread sees', () => {
    const control = allocateControl(CREW.words)
    expect([...control]).toEqual([0, 0, 0, 0, 0, 0])
    expect(Object.prototype.toString.call(control.buffer)).toBe('[object SharedArrayBuffer]')
  })

  it('has a place of its own for each of its words', () => {
    const { words, ...places } = CREW
    expect(Object.values(places).sort()).toEqual(Array.from({ length: words }, (_, index) => index))
    expect(FREEZER).toEqual({ state: 0, words: 1 })
    const states = Object.values(FREEZER_STATE)
    expect(new Set(states).size).toBe(states.length)
  })
})

describe('taking pieces of work', () => {
  it('gives one after the other, and then none', () => {
    const control = allocateControl(CREW.words)
    const taken = Array.from({ length: 6 }, () => takePiece(control, 4))
    expect(taken).toEqual([0, 1, 2, 3, -1, -1])
  })

  it('gives none where there are none', () => {
    expect(takePiece(allocateControl(CREW.words), 0)).toBe(-1)
  })

  it('gives none any more from the moment all are to stop', () => {
    const control = allocateControl(CREW.words)
    expect(takePiece(control, 100)).toBe(0)
    Atomics.store(control, CREW.stop, 1)
    expect([takePiece(control, 100), takePiece(control, 100)]).toEqual([-1, -1])
  })

  it('gives each piece to one thread only', async () => {
    const control = allocateControl(CREW.words)
    const pieces = 20_000
    const workers = Array.from(
      { length: 3 },
      () => new Worker(new URL('./take-worker.js', import.meta.url), { workerData: { control, pieces } }),
    )
    const taken = await Promise.all(
      workers.map(
        (worker) =>
          new Promise<readonly number[]>((resolve, reject) => {
            worker.once('message', resolve)
            worker.once('error', reject)
          }),
      ),
    )
    const all = taken.flat().sort((a, b) => a - b)
    expect(all).toHaveLength(pieces)
    expect(all.filter((piece, index) => piece !== index)).toEqual([])
  })
})
