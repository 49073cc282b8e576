/** Benchmarks of single functions: bitmap, plan, iovecs, pagemap, maps; and what each allocates. */
import { Bench } from 'tinybench'
import { allocateBitmap, countBits, setBits } from '../src/core/bitmap.js'
import { CHUNK_PAGES, chunkDirectory, slotCount, type ChunkDirectory } from '../src/core/chunks.js'
import { fillRemoteIovecs } from '../src/core/iovec.js'
import { planDump, planPages } from '../src/core/plan.js'
import { decodePagemap, encodePagemap } from '../src/image/pagemap.js'
import { parseMaps } from '../src/kernel/maps-text.js'
import { countAllocation, type Allocation } from './allocation.js'
import { figure, markdownTable } from './markdown-table.js'

/** One line of the result. */
export interface MicroResult extends Allocation {
  readonly name: string
  readonly medianMs: number
  readonly samples: number
}

const PAGE_SIZE = 4096
const CHUNKS = 256
const MAPS_LINES = 60_000
const MIB = 2 ** 20

/** Runs and prints them. The shapes are of 4 GiB: 1 Mi page slots. */
export async function runMicroBenchmarks(): Promise<MicroResult[]> {
  const functions = [...bitmapFunctions(), ...pagemapFunctions()]
  const bench = new Bench({ time: 300, warmupTime: 100 })
  for (const [name, action] of functions) bench.add(name, action)
  await bench.run()
  const results = functions.map(([name, action], index) => {
    const result = bench.tasks[index]?.result
    if (result?.state !== 'completed') throw new Error(`${name} did not complete`)
    const { p50, samplesCount } = result.latency
    return { name, medianMs: p50, samples: samplesCount, ...countAllocation(action) }
  })
  const head = [`function (${String(CHUNKS * CHUNK_PAGES)} slots in chunks of ${String(CHUNK_PAGES)})`]
  const rows = results.map(({ name, medianMs, samples, heapBytes, bufferBytes }) => [
    ...[name, figure(medianMs), String(samples)],
    ...[figure(heapBytes / MIB), figure(bufferBytes / MIB)],
  ])
  console.log()
  console.log(markdownTable([...head, 'median ms', 'samples', 'allocates: heap MiB', 'buffers MiB'], rows))
  return results
}

/** A name, and what is measured under it. */
type Measured = readonly [name: string, action: () => unknown]

interface Shapes {
  readonly chunks: ChunkDirectory
  readonly slots: number
  /** Every slot's bit is set. */
  readonly dense: Int32Array
  /** Every other one. */
  readonly fragmented: Int32Array
}

function makeShapes(): Shapes {
  const chunks = chunkDirectory(Array.from({ length: CHUNKS }, (_, index) => 1000 + index))
  const slots = slotCount(chunks)
  const dense = allocateBitmap(slots)
  setBits(dense, 0, slots)
  const fragmented = allocateBitmap(slots)
  for (let slot = 0; slot < slots; slot += 2) setBits(fragmented, slot, slot + 1)
  return { chunks, slots, dense, fragmented }
}

function bitmapFunctions(): Measured[] {
  const { chunks, slots, dense, fragmented } = makeShapes()
  return [
    [
      'bitmap: set 1 Mi bits one by one',
      () => {
        for (let slot = 0; slot < slots; slot++) setBits(dense, slot, slot + 1)
      },
    ],
    ['bitmap: count 1 Mi bits', () => countBits(fragmented)],
    ['plan: 1 Mi pages, one run', () => planDump(chunks, dense)],
    ['plan: 1 Mi slots, every other page', () => planDump(chunks, fragmented)],
    ['plan: 1 Mi slots, every other page, a hole between', () => planDump(chunks, dense, fragmented)],
  ]
}

function pagemapFunctions(): Measured[] {
  const { chunks, fragmented } = makeShapes()
  const plan = planDump(chunks, fragmented)
  const pagemap = encodePagemap(plan, PAGE_SIZE, 1)
  const iovecs = new Uint32Array(4096)
  const maps = Buffer.from(mapsText(MAPS_LINES))
  return [
    [
      'iovecs: 0.5 Mi runs',
      () => {
        for (let page = 0; page < planPages(plan); page += 256)
          fillRemoteIovecs(plan, page, page + 256, PAGE_SIZE, iovecs)
      },
    ],
    ['pagemap: encode 0.5 Mi entries', () => encodePagemap(plan, PAGE_SIZE, 1)],
    ['pagemap: decode 0.5 Mi entries', () => decodePagemap(pagemap, 'bench', PAGE_SIZE)],
    ['maps: parse 60,000 lines', () => parseMaps(maps, PAGE_SIZE)],
  ]
}

function mapsText(lines: number): string {
  return Array.from({ length: lines }, (_, index) => {
    const start = 0x7f0000000000 + index * 0x3000
    return `${start.toString(16)}-${(start + 0x2000).toString(16)} rw-p 00000000 00:00 0 \n`
  }).join('')
}
