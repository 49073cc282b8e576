/** How many bytes a function allocates. */
import { GCProfiler, setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

/** Bytes allocated by one call, on average. */
export interface Allocation {
  /** On V8's heap, what was collected meanwhile included. */
  readonly heapBytes: number
  /** Outside it, in the buffers of typed arrays: what was there at the call's end, whoever had it. */
  readonly bufferBytes: number
}

const CALLS = 5

/** Counts what `action` allocates. It is called some times before, so that its code is compiled. */
export function countAllocation(action: () => unknown): Allocation {
  const collect = garbageCollector()
  for (let call = 0; call < CALLS; call++) action()
  let heapBytes = 0
  let bufferBytes = 0
  for (let call = 0; call < CALLS; call++) {
    collect()
    const profiler = new GCProfiler()
    profiler.start()
    const before = process.memoryUsage()
    action()
    const after = process.memoryUsage()
    const collected = profiler
      .stop()
      .statistics.map(
        (run) => run.beforeGC.heapStatistics.usedHeapSize - run.afterGC.heapStatistics.usedHeapSize,
      )
    heapBytes += after.heapUsed - before.heapUsed + collected.reduce((sum, bytes) => sum + bytes, 0)
    bufferBytes += after.arrayBuffers - before.arrayBuffers
  }
  return { heapBytes: Math.max(0, heapBytes / CALLS), bufferBytes: Math.max(0, bufferBytes / CALLS) }
}

function garbageCollector(): () => void {
  setFlagsFromString('--expose-gc')
  const collect: unknown = runInNewContext('gc')
  if (!isFunction(collect)) throw new Error('V8 gave no gc()')
  return collect
}

function isFunction(value: unknown): value is () => void {
  return typeof value === 'function'
}
