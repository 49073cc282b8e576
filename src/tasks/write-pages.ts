/** Writes staging memory to the pages file after the thaw, piece by piece, each to its final offset. */
import { moveAt, type PageMoves } from '../core/page-moves.js'
import { TidemarkError } from '../errors.js'
import { addressOf, EINTR, errno, errnoName, memcmp, pwriteAt } from '../kernel/libc.js'
import { pageSize } from '../kernel/page-size.js'
import { CREW, takePiece } from './control.js'
import type { WriteJob } from './jobs.js'

/** What one thread wrote. */
export interface WriteCounts {
  readonly pieces: number
  readonly pages: number
}

/** Writes pieces from the queue until it is empty. */
export function writePages(job: WriteJob, control: Int32Array): WriteCounts {
  const total = Math.ceil(job.pages / job.bufferPages)
  let pieces = 0
  let pages = 0
  for (let piece = takePiece(control, total); piece >= 0; piece = takePiece(control, total)) {
    const start = piece * job.bufferPages
    const end = Math.min(job.pages, start + job.bufferPages)
    writeMoved(job.pagesFd, job.address, job.moves, start, end)
    pieces++
    pages += end - start
    Atomics.add(control, CREW.progress, 1)
  }
  return { pieces, pages }
}

/**
 * Writes pages [`start`, `end`) of all that `moves` move, each to its place in the file.
 *
 * @param address - where page 0 of those that are moved would lie in our memory
 */
export function writeMoved(fd: number, address: number, moves: PageMoves, start: number, end: number): void {
  const size = pageSize()
  for (let move = moveAt(moves, start), at = start; at < end; move++) {
    const before = moves.beforePages[move] ?? 0
    const stop = Math.min(end, moves.beforePages[move + 1] ?? end)
    const from = (moves.fromPage[move] ?? 0) + at - before
    const to = (moves.toPage[move] ?? 0) + at - before
    writeSparsely(fd, address + from * size, stop - at, to)
    at = stop
  }
}

/**
 * Pages of a hole. A shorter one would cost more, by a further call, than it saves: about 0.5 (ext4) to 1.5
 * microseconds a page. Looking at blocks of this size for zeros costs 1 ms a GiB where there are none.
 */
const HOLE_PAGES = 16

/**
 * Writes `pages` pages of our memory at `address` to file page `filePage`, but for blocks of zeros: a file has zeros where
 * nothing was written. The last page is written always, so that the file ends where it should. Throws `WRITE_FAILED`.
 */
export function writeSparsely(fd: number, address: number, pages: number, filePage: number): void {
  const size = pageSize()
  const zeros = zeroBlock()
  let start = 0
  for (let at = 0; at + HOLE_PAGES < pages; at += HOLE_PAGES) {
    if (memcmp(address + at * size, zeros, HOLE_PAGES * size) !== 0) continue
    writeFully(fd, address + start * size, (at - start) * size, (filePage + start) * size)
    start = at + HOLE_PAGES
  }
  writeFully(fd, address + start * size, (pages - start) * size, (filePage + start) * size)
}

let zeroMemory: Buffer | undefined

/** Address of a block of zeros, which stays in the cache. */
function zeroBlock(): number {
  zeroMemory ??= Buffer.alloc(HOLE_PAGES * pageSize())
  return addressOf(zeroMemory)
}

/** Writes `length` bytes of our memory at `address` to `offset` of the pages file. Throws `WRITE_FAILED`. */
export function writeFully(fd: number, address: number, length: number, offset: number): void {
  let done = 0
  while (done < length) {
    const wrote = pwriteAt(fd, address + done, length - done, offset + done)
    if (wrote > 0) {
      done += wrote
    } else if (wrote === 0 || errno() !== EINTR) {
      const name = wrote === 0 ? 'no progress' : errnoName()
      throw new TidemarkError('WRITE_FAILED', `cannot write the pages file: ${name}; nothing was saved`, {
        syscall: 'pwrite64',
        errno: name,
      })
    }
  }
}
