/**
 * The populated parts of a huge VMA, by PAGEMAP_SCAN (Linux 6.7). Part of the oracle: it only narrows where the
 * oracle reads pagemap, it judges no page.
 */
import koffi from 'koffi'
import { pageSize } from './kernel-vmas.js'

/** A range of pages. */
export interface PageRange {
  readonly startPage: number
  /** Exclusive. */
  readonly endPage: number
}

/** source: include/uapi/linux/fs.h: _IOWR('f', 16, struct pm_scan_arg), 96 bytes */
const PAGEMAP_SCAN = 0xc0606610
const ARGUMENT_BYTES = 96
const REGION_BYTES = 24
const REGIONS = 4096
const PRESENT_OR_SWAPPED = 8n + 16n

const ioctl: (fd: number, request: number, argument: Uint8Array) => number = koffi
  .load(null)
  .func('ioctl', 'int', ['int', 'ulong', 'void *'])

/** The populated parts of `vma`, ascending, or undefined where the kernel has no PAGEMAP_SCAN. */
export function populatedRanges(pagemap: number, vma: PageRange): readonly PageRange[] | undefined {
  const ranges: PageRange[] = []
  let next = vma.startPage
  while (next < vma.endPage) {
    const found = scan(pagemap, next, vma.endPage)
    if (found === undefined) return undefined
    ranges.push(...found)
    const last = found.at(-1)
    if (found.length < REGIONS || last === undefined) break
    next = last.endPage
  }
  return ranges
}

/** The first ranges, at most REGIONS of them, at or after `startPage`. */
function scan(pagemap: number, startPage: number, endPage: number): PageRange[] | undefined {
  const regions = Buffer.alloc(REGIONS * REGION_BYTES)
  const argument = Buffer.alloc(ARGUMENT_BYTES)
  const fields: readonly (readonly [offset: number, value: bigint])[] = [
    [0, BigInt(ARGUMENT_BYTES)],
    [16, BigInt(startPage) * BigInt(pageSize())],
    [24, BigInt(endPage) * BigInt(pageSize())],
    [40, koffi.address(regions)],
    [48, BigInt(REGIONS)],
    [80, PRESENT_OR_SWAPPED], // category_anyof_mask
    [88, PRESENT_OR_SWAPPED], // return_mask
  ]
  for (const [offset, value] of fields) argument.writeBigUInt64LE(value, offset)
  const count = ioctl(pagemap, PAGEMAP_SCAN, argument)
  if (count < 0) return undefined
  return Array.from({ length: count }, (_, index) => ({
    startPage: pageAt(regions, index * REGION_BYTES),
    endPage: pageAt(regions, index * REGION_BYTES + 8),
  }))
}

function pageAt(regions: Buffer, offset: number): number {
  return Number(regions.readBigUInt64LE(offset) / BigInt(pageSize()))
}
