/**
 * A virtual memory area as the core sees it: pages, not addresses.
 *
 * A page number is exact in a JS number even for [vsyscall] (2^52 - 2^n), where an address is not.
 */

/** Flags of a VMA beyond its permissions: the two-letter words of VmFlags in smaps. source: fs/proc/task_mmu.c */
export type VmFlags = ReadonlySet<string>

/** One VMA. */
export interface Vma {
  /** First page number. */
  readonly startPage: number
  /** One past the last page number. */
  readonly endPage: number
  readonly read: boolean
  readonly write: boolean
  readonly execute: boolean
  /** MAP_SHARED (the `s` of `rw-s`). */
  readonly shared: boolean
  /** Offset into the mapped file, in bytes. */
  readonly fileOffset: number
  readonly devMajor: number
  readonly devMinor: number
  readonly inode: number
  /** The last column of maps: a path, `[heap]`, `[anon:name]`, or empty. */
  readonly path: string
  /** VmFlags, or undefined where smaps has not been read for this line. */
  readonly flags: VmFlags | undefined
}

/** Of a VMA that a userfaultfd watches: for write protection, missing pages, minor faults. source: the same */
export const WATCHED_FLAGS = ['uw', 'um', 'ui'] as const

/** Pages in `vma`. */
export function vmaPages(vma: Vma): number {
  return vma.endPage - vma.startPage
}

/** `rw-p` and the like, as maps prints it. */
export function vmaPermissions(vma: Vma): string {
  return (
    (vma.read ? 'r' : '-') + (vma.write ? 'w' : '-') + (vma.execute ? 'x' : '-') + (vma.shared ? 's' : 'p')
  )
}

/** Index of the VMA that holds `page`, or -1. `vmas` is in address order. */
export function findVma(vmas: readonly Vma[], page: number): number {
  let low = 0
  let high = vmas.length
  while (low < high) {
    const middle = Math.floor((low + high) / 2)
    const vma = vmas[middle]
    if (vma !== undefined && vma.endPage <= page) low = middle + 1
    else high = middle
  }
  const found = vmas[low]
  return found !== undefined && found.startPage <= page ? low : -1
}
