/** Writes staging memory to the pages file after the thaw, piece by piece, each to its final offset. */
import { moveAt, type PageMoves } from '../core/page-moves.js'
import { TidemarkError } from '../errors.js'
import { EINTR, errno, errnoName, pwriteAt } from '../kernel/libc.js'
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
export function writeMoved(
  fd: number,
  address: number,
  moves: PageMoves,
  start: number,
  end: number,
): void {
  const size = pageSize()
  for (let move = moveAt(moves, start), at = start; at < end; move++) {
    const before = moves.beforePages[move] ?? 0
    const stop = Math.min(end, moves.beforePages[move + 1] ?? end)
    const from = (moves.fromPage[move] ?? 0) + at - before
    const to = (moves.toPage[move] ?? 0) + at - before
    writeFully(fd, address + from * size, (stop - at) * size, to * size)
    at = stop
  }
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
