/**
 * A thread that takes pieces of work until there are none, and tells which it got.
 */
import { parentPort, workerData } from 'node:worker_threads'
import { takePiece } from '../../src/tasks/control.js'

interface Task {
  readonly control: Int32Array
  readonly pieces: number
}

function isTask(value: unknown): value is Task {
  return typeof value === 'object' && value !== null && 'control' in value && 'pieces' in value
}

function takeAll({ control, pieces }: Task): number[] {
  const taken: number[] = []
  for (let piece = takePiece(control, pieces); piece >= 0; piece = takePiece(control, pieces))
    taken.push(piece)
  return taken
}

const task: unknown = workerData
if (!isTask(task)) throw new Error('no task given')
parentPort?.postMessage(takeAll(task))
