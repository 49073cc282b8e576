/**
 * What this kernel, with the rights we have, can tell of pages: probed once, on memory of our own.
 */
import { closeSync, openSync, readFileSync, writeSync } from 'node:fs'
import { endianness, machine, platform } from 'node:os'
import { messageOf, TidemarkError } from '../errors.js'
import {
  addressOf,
  ioctl,
  madvise,
  mmap,
  munmap,
  pread,
  processVmReadv,
  memset,
  type Memory,
} from './libc.js'
import { setIovec } from '../core/iovec.js'
import {
  HUGE_PAGE_BYTES,
  MADV,
  MAP_PRIVATE_ANONYMOUS,
  PAGE_IS,
  PAGEMAP_SCAN,
  PM_SCAN_ARG_BYTES,
  PROT_READ_WRITE,
} from './abi.js'
import { pageSize } from './page-size.js'

/** Findings of {@link probeKernel}. Plain data: it travels to the threads. */
export interface KernelFeatures {
  /** PAGEMAP_SCAN works (Linux 6.7). */
  readonly pagemapScan: boolean
  /** PAGEMAP_SCAN knows guard pages (Linux 6.15). */
  readonly guardCategory: boolean
  /** PAGEMAP_SCAN knows the soft-dirty bit, which that of Linux 6.7 does not. */
  readonly softDirtyCategory: boolean
  /** PAGEMAP_SCAN was seen to tell the huge zero page; false where it does not, or where none was to be had. */
  readonly hugeZeroCategory: boolean
  /** Writes set the soft-dirty bit: shown by a write, a reset, a write and a look. */
  readonly softDirty: boolean
  /** Page frame number of the zero page, where we may see it (CAP_SYS_ADMIN). */
  readonly zeroPfn: number | undefined
  /** That of the huge zero page's first page, where we may see it and there is one (transparent huge pages). */
  readonly hugeZeroPfn: number | undefined
  /** Whether a process may have a huge zero page that nothing tells from memory of its own. */
  readonly hugeZeroHidden: boolean
}

const PFN_MASK = (1n << 55n) - 1n
const SOFT_DIRTY_BIT = 1n << 55n

let known: KernelFeatures | undefined

/** What the kernel can do. Probed at the first call. Throws `UNSUPPORTED_PLATFORM` where Tidemark cannot run. */
export function probeKernel(): KernelFeatures {
  known ??= probe()
  return known
}

function probe(): KernelFeatures {
  if (platform() !== 'linux' || machine() !== 'x86_64' || endianness() !== 'LE') {
    throw new TidemarkError(
      'UNSUPPORTED_PLATFORM',
      `Tidemark runs on Linux x86-64 only; this is ${platform()} on ${machine()}`,
    )
  }
  const size = pageSize()
  const address = mmap(0, 2 * size, PROT_READ_WRITE, MAP_PRIVATE_ANONYMOUS, -1, 0)
  if (address === -1) throw new TidemarkError('SYSCALL_FAILED', 'cannot map two pages of memory')
  let fd: number
  try {
    fd = openSync('/proc/self/pagemap', 'r')
  } catch (error) {
    throw new TidemarkError(
      'UNSUPPORTED_PLATFORM',
      `/proc/self/pagemap cannot be read (${messageOf(error)}); is /proc mounted?`,
    )
  }
  try {
    const pagemapScan = scanAccepts(fd, address, size, PAGE_IS.PRESENT)
    const zeroPfn = probeZeroPfn(fd, address + size, size)
    const hugeZeroPfn = zeroPfn === undefined ? undefined : probeHugeZeroPfn(fd, size, zeroPfn)
    const hugeZeroCategory = pagemapScan && probeHugeZeroCategory(fd)
    return {
      pagemapScan,
      guardCategory: pagemapScan && scanAccepts(fd, address, size, PAGE_IS.GUARD),
      softDirtyCategory: pagemapScan && scanAccepts(fd, address, size, PAGE_IS.SOFT_DIRTY),
      softDirty: probeSoftDirty(fd, address, size),
      hugeZeroCategory,
      zeroPfn,
      hugeZeroPfn,
      hugeZeroHidden: !hugeZeroCategory && hugeZeroPfn === undefined && hadHugeZero(),
    }
  } finally {
    closeSync(fd)
    munmap(address, 2 * size)
  }
}

/** Whether PAGEMAP_SCAN knows `category`: an unknown one is EINVAL. */
function scanAccepts(fd: number, address: number, length: number, category: number): boolean {
  return scanOwn(fd, address, length, category) !== undefined
}

/** Those of `categories` that the first page at `address` has, 0 for none; undefined where PAGEMAP_SCAN fails. */
function scanOwn(fd: number, address: number, length: number, categories: number): number | undefined {
  const regions = new BigUint64Array(3)
  const words = [
    PM_SCAN_ARG_BYTES,
    0,
    address,
    address + length,
    0,
    addressOf(regions),
    1,
    0,
    0,
    0,
    categories,
    categories,
  ]
  const found = ioctl(fd, PAGEMAP_SCAN, BigUint64Array.from(words, BigInt))
  if (found < 0) return undefined
  return found === 0 ? 0 : Number(regions[2])
}

/**
 * Whether PAGEMAP_SCAN tells the huge zero page, shown by a huge page of ours that was only read. Kernels before 6.17,
 * stable ones aside, do not.
 *
 * source: fs/proc/task_mmu.c pagemap_thp_category
 */
function probeHugeZeroCategory(fd: number): boolean {
  const mapped = 2 * HUGE_PAGE_BYTES
  const base = mmap(0, mapped, PROT_READ_WRITE, MAP_PRIVATE_ANONYMOUS, -1, 0)
  if (base === -1) return false
  try {
    const address = Math.ceil(base / HUGE_PAGE_BYTES) * HUGE_PAGE_BYTES
    madvise(address, HUGE_PAGE_BYTES, MADV.HUGEPAGE)
    readOwn(address, new Uint8Array(1))
    const told = PAGE_IS.HUGE | PAGE_IS.PFNZERO
    return scanOwn(fd, address, HUGE_PAGE_BYTES, told) === told
  } finally {
    munmap(base, mapped)
  }
}

/** Whether there was a huge zero page since the machine was booted. source: mm/vmstat.c, mm/huge_memory.c */
function hadHugeZero(): boolean {
  try {
    const [, count] = /^thp_zero_page_alloc (\d+)$/m.exec(readFileSync('/proc/vmstat', 'latin1')) ?? []
    return count !== undefined && count !== '0'
  } catch {
    return true
  }
}

/**
 * Whether soft-dirty works. A kernel without it accepts the reset and never sets the bit, and Linux 3.11 to
 * 4.2 show it only after the first reset: so write, reset, look, write, look.
 */
function probeSoftDirty(fd: number, address: number, size: number): boolean {
  try {
    memset(address, 1, size)
    const refs = openSync('/proc/self/clear_refs', 'w')
    try {
      writeSync(refs, '4')
    } finally {
      closeSync(refs)
    }
    if ((entryOf(fd, address, size) & SOFT_DIRTY_BIT) !== 0n) return false
    memset(address, 2, size)
    return (entryOf(fd, address, size) & SOFT_DIRTY_BIT) !== 0n
  } catch {
    return false
  }
}

/** The zero page's frame number, learnt from a page that was only read; undefined where the kernel hides it. */
function probeZeroPfn(fd: number, address: number, size: number): number | undefined {
  const pfn = pfnAfterRead(fd, address, size)
  return pfn === 0 ? undefined : pfn
}

/**
 * The huge zero page's first frame number, learnt from two huge pages that were only read: where both have the same
 * frame it is that page, since memory of their own would be two. The mapping stays for the life of this process: the
 * kernel gives up a huge zero page that nobody has, and makes another one in another frame.
 *
 * source: mm/huge_memory.c do_huge_pmd_anonymous_page, get_huge_zero_page
 */
function probeHugeZeroPfn(fd: number, size: number, zeroPfn: number): number | undefined {
  const mapped = 3 * HUGE_PAGE_BYTES
  const base = mmap(0, mapped, PROT_READ_WRITE, MAP_PRIVATE_ANONYMOUS, -1, 0)
  if (base === -1) return undefined
  const address = Math.ceil(base / HUGE_PAGE_BYTES) * HUGE_PAGE_BYTES
  madvise(address, 2 * HUGE_PAGE_BYTES, MADV.HUGEPAGE)
  const pfn = pfnAfterRead(fd, address, size)
  const second = pfnAfterRead(fd, address + HUGE_PAGE_BYTES, size)
  if (pfn === second && pfn !== zeroPfn && pfn !== 0) return pfn
  munmap(base, mapped)
  return undefined
}

/** Frame number of the page at `address` after a read of it; 0 where the kernel hides it. */
function pfnAfterRead(fd: number, address: number, size: number): number {
  readOwn(address, new Uint8Array(1))
  return Number(entryOf(fd, address, size) & PFN_MASK)
}

function readOwn(address: number, into: Memory): void {
  const local = new Uint32Array(4)
  const remote = new Uint32Array(4)
  setIovec(local, 0, addressOf(into), into.byteLength)
  setIovec(remote, 0, address, into.byteLength)
  processVmReadv(process.pid, local, 1, remote, 1, 0)
}

function entryOf(fd: number, address: number, size: number): bigint {
  const entry = new BigUint64Array(1)
  pread(fd, entry, 8, (address / size) * 8)
  return entry[0] ?? 0n
}
