/**
 * Victim: writes without pause, in an order that a frozen snapshot must show.
 *
 *   --pairs P     pairs of pages, A and B (64)
 *   --filler F    filled pages between the A's and the B's, which keep a slow reader busy (1024)
 *
 *   |A0|A1|..|A63|  filler  |B0|B1|..|B63|      first 8 bytes: the sequence number of the last round, rest: content
 *
 * Round n writes n to A0, B0, A1, B1, …: so at every instant A[i] - B[i] is 0 or 1, A[0] - B[last] is 0 or 1,
 * and neither the A's nor the B's ascend. A snapshot that breaks this was not taken at one instant.
 *
 * Commands: `rounds` tells the number of the last round.
 */
import { parseArgs } from 'node:util'
import { PAGE_SIZE } from './content.js'
import { viewOf } from './libc.js'
import { fill, hex, mapPages } from './memory.js'
import { serve } from './session.js'

const ROUNDS_PER_TURN = 2000

const { values } = parseArgs({
  options: { pairs: { type: 'string', default: '64' }, filler: { type: 'string', default: '1024' } },
})
const pairs = Number(values.pairs)
const filler = Number(values.filler)
const pages = 2 * pairs + filler
const start = mapPages(pages)
fill(start, pages, 1)

const WORDS_PER_PAGE = PAGE_SIZE / 8
const memory = new BigUint64Array(viewOf(start, pages * PAGE_SIZE))
const firstB = (pairs + filler) * WORDS_PER_PAGE

/** Atomics keep the order of the stores, in the engine and in the processor. */
function writeRound(sequence: bigint): void {
  for (let pair = 0; pair < pairs; pair += 1) {
    Atomics.store(memory, pair * WORDS_PER_PAGE, sequence)
    Atomics.store(memory, firstB + pair * WORDS_PER_PAGE, sequence)
  }
}

let round = 1n

function turn(): void {
  for (let index = 0; index < ROUNDS_PER_TURN; index += 1) {
    round += 1n
    writeRound(round)
  }
  setImmediate(turn)
}

writeRound(round)
serve(
  { a: hex(start), b: hex(start + (pairs + filler) * PAGE_SIZE), pairs, start: hex(start), pages },
  { rounds: () => ({ rounds: Number(round) }) },
)
turn()
