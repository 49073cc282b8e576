/**
 * Shards: how the slots are cut into pieces of about equal work, each scanned by one thread.
 *
 * Shards are whole words of the bitmaps, so no two threads write one word, and have nothing to do with VMA
 * borders. They are taken from a queue: which thread scans which shard changes nothing in the result.
 */
import { WORD_SLOTS } from './bitmap.js'
import { CHUNK_PAGES } from './chunks.js'

/** Ordered shards as columns in shared memory; together they cover every slot once. */
export interface Shards {
  readonly count: number
  readonly startSlot: Float64Array
  /** Exclusive. */
  readonly endSlot: Float64Array
}

/**
 * Cuts the slots of `weights.length` chunks into shards of about `shardPages` populated pages.
 *
 * @param weights - populated pages of each chunk, exact or estimated; 0 counts as one page
 * @param shardPages - at least 1
 */
export function cutShards(weights: ArrayLike<number>, shardPages: number): Shards {
  const ends: number[] = []
  let gathered = 0
  for (let chunk = 0; chunk < weights.length; chunk++) {
    const weight = Math.max(1, weights[chunk] ?? 0)
    const chunkStart = chunk * CHUNK_PAGES
    if (weight > shardPages) {
      if (gathered > 0) ends.push(chunkStart)
      const pieces = Math.min(Math.ceil(weight / shardPages), CHUNK_PAGES / WORD_SLOTS)
      for (let piece = 1; piece <= pieces; piece++) {
        ends.push(chunkStart + Math.round((piece * CHUNK_PAGES) / WORD_SLOTS / pieces) * WORD_SLOTS)
      }
      gathered = 0
      continue
    }
    gathered += weight
    if (gathered < shardPages) continue
    ends.push(chunkStart + CHUNK_PAGES)
    gathered = 0
  }
  if (gathered > 0) ends.push(weights.length * CHUNK_PAGES)
  return toColumns(ends)
}

/** A shard for each of the chunks at `indexes` in the directory. */
export function shardsOfChunks(indexes: readonly number[]): Shards {
  const startSlot = new Float64Array(new SharedArrayBuffer(8 * indexes.length))
  const endSlot = new Float64Array(new SharedArrayBuffer(8 * indexes.length))
  indexes.forEach((index, shard) => {
    startSlot[shard] = index * CHUNK_PAGES
    endSlot[shard] = (index + 1) * CHUNK_PAGES
  })
  return { count: indexes.length, startSlot, endSlot }
}

/** Shard size for `pages` populated pages and `workers` threads: enough shards to balance, few enough to be cheap. */
export function defaultShardPages(pages: number, workers: number): number {
  return Math.min(65_536, Math.max(2_048, Math.ceil(pages / (workers * 8))))
}

function toColumns(ends: number[]): Shards {
  const startSlot = new Float64Array(new SharedArrayBuffer(8 * ends.length))
  const endSlot = new Float64Array(new SharedArrayBuffer(8 * ends.length))
  endSlot.set(ends)
  startSlot.set([0, ...ends].slice(0, ends.length))
  return { count: ends.length, startSlot, endSlot }
}
