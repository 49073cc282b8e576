import { describe, expect, it } from '@jest/globals'
import fc from 'fast-check'
import { WORD_SLOTS } from '../../src/core/bitmap.js'
import { CHUNK_PAGES } from '../../src/core/chunks.js'
import { cutShards, defaultShardPages, shardsOfChunks, type Shards } from '../../src/core/shards.js'

/** Populated pages of chunks: empty, sparse, dense and full ones. */
const weights = fc.array(
  fc.oneof(fc.nat({ max: 3 }), fc.nat({ max: CHUNK_PAGES }), fc.constant(CHUNK_PAGES)),
  { maxLength: 40 },
)
const sizes = fc.oneof(
  fc.integer({ min: 1, max: 40 }),
  fc.integer({ min: 1, max: 70_000 }),
  fc.constant(2 ** 40),
)

function listShards(shards: Shards): [start: number, end: number][] {
  expect([shards.startSlot.length, shards.endSlot.length]).toEqual([shards.count, shards.count])
  return [...shards.startSlot].map((start, index) => [start, shards.endSlot[index] ?? NaN])
}

/** Pages in slots [start, end), where each chunk's pages lie evenly; an empty chunk counts as one page. */
function pagesIn(chunkWeights: readonly number[], start: number, end: number): number {
  let pages = 0
  for (let chunk = Math.floor(start / CHUNK_PAGES); chunk * CHUNK_PAGES < end; chunk++) {
    const weight = chunkWeights[chunk]
    if (weight === undefined) break
    const from = Math.max(start, chunk * CHUNK_PAGES)
    const to = Math.min(end, (chunk + 1) * CHUNK_PAGES)
    if (from < to) pages += (Math.max(1, weight) * (to - from)) / CHUNK_PAGES
  }
  return pages
}

describe('cutting shards', () => {
  it('covers every slot once, in order, in whole words', () => {
    fc.assert(
      fc.property(weights, sizes, (chunkWeights, shardPages) => {
        const shards = listShards(cutShards(chunkWeights, shardPages))
        const borders = [...shards.map(([start]) => start), chunkWeights.length * CHUNK_PAGES]
        const wrong = shards.filter(
          ([start, end], index) =>
            end !== borders[index + 1] || end <= start || start % WORD_SLOTS !== 0 || end % WORD_SLOTS !== 0,
        )
        expect([borders[0], wrong]).toEqual([0, []])
      }),
      { numRuns: 300 },
    )
  })

  it('gives no shard twice the pages wished, but for the rounding to words', () => {
    fc.assert(
      fc.property(weights, sizes, (chunkWeights, shardPages) => {
        const tooBig = listShards(cutShards(chunkWeights, shardPages)).filter(
          ([start, end]) => pagesIn(chunkWeights, start, end) >= 2 * shardPages + WORD_SLOTS,
        )
        expect(tooBig).toEqual([])
      }),
    )
  })

  it('makes no more shards than the pages need, and one before each dense chunk', () => {
    fc.assert(
      fc.property(weights, sizes, (chunkWeights, shardPages) => {
        const total = pagesIn(chunkWeights, 0, Infinity)
        const dense = chunkWeights.filter((weight) => weight > shardPages).length
        const { count } = cutShards(chunkWeights, shardPages)
        expect(count).toBeLessThanOrEqual((2 * total) / shardPages + dense + 1)
      }),
    )
  })

  it('cuts a full chunk into single words for the tiniest shards', () => {
    const shards = listShards(cutShards([CHUNK_PAGES], 1))
    expect(shards).toHaveLength(CHUNK_PAGES / WORD_SLOTS)
    expect(shards.every(([start, end]) => end - start === WORD_SLOTS)).toBe(true)
  })

  it('puts everything into one shard where shards may be huge', () => {
    expect(listShards(cutShards([1, CHUNK_PAGES, 0, 77], 2 ** 40))).toEqual([[0, 4 * CHUNK_PAGES]])
  })

  it('cuts nothing into no shards', () => {
    expect(listShards(cutShards([], 100))).toEqual([])
  })

  it('gathers sparse chunks, and ends a shard where a dense chunk is cut', () => {
    expect(listShards(cutShards([10, 10, 300, 10, 90, 10], 100))).toEqual([
      [0, 8192],
      [8192, 8192 + 1376],
      [8192 + 1376, 8192 + 2720],
      [8192 + 2720, 12288],
      [12288, 20480],
      [20480, 24576],
    ])
  })
})

describe('shards of single chunks', () => {
  it('are one for each, in the order in which they are named', () => {
    expect(listShards(shardsOfChunks([0, 7, 3]))).toEqual([
      [0, 4096],
      [7 * 4096, 8 * 4096],
      [3 * 4096, 4 * 4096],
    ])
    expect(listShards(shardsOfChunks([]))).toEqual([])
  })
})

describe('the default size of a shard', () => {
  it('gives each thread eight shards, between 2,048 and 65,536 pages', () => {
    expect(defaultShardPages(1_000_000, 4)).toBe(31_250)
    expect(defaultShardPages(1_000_001, 4)).toBe(31_251)
    expect(defaultShardPages(0, 1)).toBe(2_048)
    expect(defaultShardPages(1_000, 16)).toBe(2_048)
    expect(defaultShardPages(100_000_000, 2)).toBe(65_536)
  })
})
