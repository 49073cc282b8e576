/** Benchmarks of single functions: bitmap, plan, iovecs, pagemap, maps. */
import { Bench } from 'tinybench'
import { allocateBitmap, countBits, setBits } from '../src/core/bitmap.js'
import { CHUNK_PAGES, chunkDirectory, slotCount } from '../src/core/chunks.js'
import { fillRemoteIovecs } from '../src/core/iovec.js'
import { planDump, planPages } from '../src/core/plan.js'
import { decodePagemap, encodePagemap } from '../src/image/pagemap.js'
import { parseMaps } from '../src/kernel/maps-text.js'

/** One line of the result. */
export interface MicroResult {
  readonly name: string
  readonly medianMs: number
  readonly samples: number
}

const PAGE_SIZE = 4096
const CHUNKS = 256

/** Runs and prints them. The shapes are of 4 GiB: 1 Mi page slots. */
export async function runMicroBenchmarks(): Promise<MicroResult[]> {
  const chunks = chunkDirectory(Array.from({ length: CHUNKS }, (_, index) => 1000 + index))
  const slots = slotCount(chunks)
  const dense = allocateBitmap(slots)
  setBits(dense, 0, slots)
  const fragmented = allocateBitmap(slots)
  for (let slot = 0; slot < slots; slot += 2) setBits(fragmented, slot, slot + 1)
  const plan = planDump(chunks, fragmented)
  const pagemap = encodePagemap(plan, PAGE_SIZE, 1)
  const iovecs = new Uint32Array(4096)
  const maps = Buffer.from(mapsText(60_000))
  const bench = new Bench({ time: 300, warmupTime: 100 })
    .add('bitmap: set 1 Mi bits one by one', () => {
      for (let slot = 0; slot < slots; slot++) setBits(dense, slot, slot + 1)
    })
    .add('bitmap: count 1 Mi bits', () => countBits(fragmented))
    .add('plan: 1 Mi pages, one run', () => planDump(chunks, dense))
    .add('plan: 1 Mi slots, every other page', () => planDump(chunks, fragmented))
    .add('iovecs: 0.5 Mi runs', () => {
      for (let page = 0; page < planPages(plan); page += 256)
        fillRemoteIovecs(plan, page, page + 256, PAGE_SIZE, iovecs)
    })
    .add('pagemap: encode 0.5 Mi entries', () => encodePagemap(plan, PAGE_SIZE, 1))
    .add('pagemap: decode 0.5 Mi entries', () => decodePagemap(pagemap, 'bench', PAGE_SIZE))
    .add('maps: parse 60,000 lines', () => parseMaps(maps, PAGE_SIZE))
  await bench.run()
  const results = bench.tasks.map((task) => {
    const { result } = task
    if (result.state !== 'completed') throw new Error(`${task.name} did not complete`)
    return { name: task.name, medianMs: result.latency.p50, samples: result.latency.samplesCount }
  })
  console.log(
    `\n| function (${String(slots)} slots in chunks of ${String(CHUNK_PAGES)}) | median ms | samples |\n| --- | --- | --- |`,
  )
  for (const { name, medianMs, samples } of results)
    console.log(`| ${name} | ${medianMs.toFixed(2)} | ${String(samples)} |`)
  return results
}

function mapsText(lines: number): string {
  return Array.from({ length: lines }, (_, index) => {
    const start = 0x7f0000000000 + index * 0x3000
    return `${start.toString(16)}-${(start + 0x2000).toString(16)} rw-p 00000000 00:00 0 \n`
  }).join('')
}
