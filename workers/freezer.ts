/** Entry of the thread that holds the target still. */
import { parentPort, workerData } from 'node:worker_threads'
import { holdTarget, isHoldTask } from '../src/tasks/hold-target.js'

// A static import has loaded everything by now.
parentPort?.postMessage('loaded')
if (isHoldTask(workerData)) holdTarget(workerData)
