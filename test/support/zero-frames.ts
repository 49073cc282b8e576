/**
 * The page frames that the kernel shows where memory was only read: the zero page and the huge zero page.
 *
 * Learnt from memory of our own: a page that is read and never written is the zero page. Part of the oracle.
 */
import { closeSync, openSync, readSync } from 'node:fs'
import koffi from 'koffi'
import { pageSize } from './kernel-vmas.js'

/** Frame numbers; 0 where the kernel does not tell us, for want of CAP_SYS_ADMIN. */
export interface ZeroFrames {
  readonly zero: number
  /** First frame of the huge zero page; 0 also where there is none. */
  readonly hugeZero: number
  readonly hugeZeroPages: number
}

const HUGE_BYTES = 2 ** 21
const READ_WRITE = 3
const PRIVATE_ANONYMOUS = 0x22
const MADV_HUGEPAGE = 14
const MADV_NOHUGEPAGE = 15

const library = koffi.load(null)
const mmap: (
  address: number,
  length: number,
  protection: number,
  flags: number,
  fd: number,
  offset: number,
) => unknown = library.func('mmap', 'uintptr_t', ['uintptr_t', 'size_t', 'int', 'int', 'int', 'int64_t'])
const madvise: (address: number, length: number, advice: number) => number = library.func('madvise', 'int', [
  'uintptr_t',
  'size_t',
  'int',
])
const memcpy: (target: Uint8Array, source: number, length: number) => void = library.func('memcpy', 'void', [
  'void *',
  'uintptr_t',
  'size_t',
])

let known: ZeroFrames | undefined

/** The zero frames. The mappings stay for good: the kernel may give up an unused huge zero page. */
export function zeroFrames(): ZeroFrames {
  known ??= { zero: frameAfterRead(MADV_NOHUGEPAGE), ...learnHugeZero() }
  return known
}

function learnHugeZero(): { hugeZero: number; hugeZeroPages: number } {
  const hugeZeroPages = HUGE_BYTES / pageSize()
  const frame = frameAfterRead(MADV_HUGEPAGE)
  return {
    hugeZero: frame % hugeZeroPages === 0 && frame !== frameAfterRead(MADV_NOHUGEPAGE) ? frame : 0,
    hugeZeroPages,
  }
}

/** Frame of the first page of fresh memory, advised by `advice` and then read, on a huge page's border. */
function frameAfterRead(advice: number): number {
  const room = mmap(0, 2 * HUGE_BYTES, READ_WRITE, PRIVATE_ANONYMOUS, -1, 0)
  if (typeof room !== 'number') throw new Error('no memory to learn the zero page from')
  const address = Math.ceil(room / HUGE_BYTES) * HUGE_BYTES
  madvise(address, HUGE_BYTES, advice)
  memcpy(Buffer.alloc(8), address, 1)
  const pagemap = openSync('/proc/self/pagemap', 'r')
  const entry = Buffer.alloc(8)
  readSync(pagemap, entry, 0, 8, (8 * address) / pageSize())
  closeSync(pagemap)
  return Number(entry.readBigUInt64LE() % 2n ** 55n)
}
