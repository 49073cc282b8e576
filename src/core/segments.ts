/**
 * Segments: the fewest address ranges that can each be scanned with one question.
 *
 *   VMAs      |anon|  |anon|anon|   |file|file| |vvar| |anon|
 *   segments  [   anonymous     ]   [ file    ]        [anon]
 *
 * Asking the kernel which pages belong to a file makes a scan three times slower, so file-backed VMAs are
 * asked apart; gaps hold no pages and join segments; a VMA that is not stored ends one. Ten thousand
 * anonymous VMAs are one segment, and one system call.
 */
import { vmaFate, type StoreClass } from './fate.js'
import type { Vma } from './vma.js'

/** Code of a segment's class in {@link Segments}: order matters to nobody, the numbers travel in shared memory. */
export const SEGMENT_CLASS = { anonymous: 0, 'file-private': 1, whole: 2 } as const satisfies Partial<
  Record<StoreClass, number>
>

/** Ordered, disjoint segments, as columns in shared memory. */
export interface Segments {
  readonly count: number
  readonly startPage: Float64Array
  /** Exclusive. */
  readonly endPage: Float64Array
  /** A value of {@link SEGMENT_CLASS}. */
  readonly storeClass: Uint8Array
}

/**
 * The segments of `vmas`, which are in address order.
 *
 * @param joinGaps - whether a segment may reach over a gap between VMAs. It costs nothing where the kernel
 *   skips what is empty (PAGEMAP_SCAN); /proc/PID/pagemap has an entry for each page of a gap, of terabytes
 * @param storeOf - which pages of a VMA are asked for; by its fate where left out
 */
export function buildSegments(
  vmas: readonly Vma[],
  joinGaps: boolean,
  storeOf: (vma: Vma) => StoreClass = (vma) => vmaFate(vma).store,
): Segments {
  const starts: number[] = []
  const ends: number[] = []
  const classes: number[] = []
  let open = -1
  for (const vma of vmas) {
    const store = storeOf(vma)
    if (store === 'none') {
      open = -1
      continue
    }
    const code = SEGMENT_CLASS[store]
    const touches = ends.at(-1) === vma.startPage
    if (open === code && store !== 'whole' && (joinGaps || touches)) {
      ends[ends.length - 1] = vma.endPage
      continue
    }
    starts.push(vma.startPage)
    ends.push(vma.endPage)
    classes.push(code)
    open = code
  }
  return toColumns(starts, ends, classes)
}

/** Index of the first segment that ends after `page`. */
export function firstSegmentAfter(segments: Segments, page: number): number {
  let low = 0
  let high = segments.count
  while (low < high) {
    const middle = Math.floor((low + high) / 2)
    if ((segments.endPage[middle] ?? 0) <= page) low = middle + 1
    else high = middle
  }
  return low
}

function toColumns(starts: number[], ends: number[], classes: number[]): Segments {
  const count = starts.length
  const startPage = new Float64Array(new SharedArrayBuffer(8 * count))
  const endPage = new Float64Array(new SharedArrayBuffer(8 * count))
  const storeClass = new Uint8Array(new SharedArrayBuffer(count))
  startPage.set(starts)
  endPage.set(ends)
  storeClass.set(classes)
  return { count, startPage, endPage, storeClass }
}
