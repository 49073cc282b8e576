/** Writes staging memory to the pages file after the thaw, piece by piece, each to its final offset. */
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
  const total = Math.ceil(job.byteLength / job.bufferBytes)
  let pieces = 0
  let bytes = 0
  for (let piece = takePiece(control, total); piece >= 0; piece = takePiece(control, total)) {
    const offset = piece * job.bufferBytes
    const length = Math.min(job.bufferBytes, job.byteLength - offset)
    writeFully(job.pagesFd, job.address + offset, length, offset)
    pieces++
    bytes += length
    Atomics.add(control, CREW.progress, 1)
  }
  return { pieces, pages: bytes / pageSize() }
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
