/**
 * The bit sets of a vma_entry: what mmap and madvise call them, and what kind of area CRIU takes it for.
 *
 * source: criu/include/image.h (status), include/uapi/asm-generic/mman-common.h (prot, flags, advice)
 */

/** PROT_ bits. */
export const PROT = { READ: 1, WRITE: 2, EXEC: 4 } as const

/** MAP_ bits. source: also include/uapi/linux/mman.h (SHARED, PRIVATE, DROPPABLE), mman.h (GROWSDOWN to NORESERVE) */
export const MAP = {
  SHARED: 0x1,
  PRIVATE: 0x2,
  DROPPABLE: 0x8,
  ANONYMOUS: 0x20,
  GROWSDOWN: 0x100,
  LOCKED: 0x2000,
  NORESERVE: 0x4000,
  HUGETLB: 0x40000,
} as const

/** VMA_ bits of `status`, under CRIU's names. */
export const STATUS = {
  VMA_AREA_REGULAR: 1,
  VMA_AREA_STACK: 1 << 1,
  VMA_AREA_VSYSCALL: 1 << 2,
  VMA_AREA_VDSO: 1 << 3,
  VMA_AREA_HEAP: 1 << 5,
  VMA_FILE_PRIVATE: 1 << 6,
  VMA_FILE_SHARED: 1 << 7,
  VMA_ANON_SHARED: 1 << 8,
  VMA_ANON_PRIVATE: 1 << 9,
  VMA_AREA_SYSVIPC: 1 << 10,
  VMA_AREA_SOCKET: 1 << 11,
  VMA_AREA_VVAR: 1 << 12,
  VMA_AREA_AIORING: 1 << 13,
  VMA_AREA_MEMFD: 1 << 14,
  VMA_AREA_SHSTK: 1 << 15,
  VMA_AREA_GUARD: 1 << 16,
} as const

/** MAP_ bit for each VmFlags word that stands for one. source: fs/proc/task_mmu.c show_smap_vma_flags */
export const MAP_OF_VM_FLAG: ReadonlyMap<string, number> = new Map([
  ['gd', MAP.GROWSDOWN],
  ['lo', MAP.LOCKED],
  ['nr', MAP.NORESERVE],
  ['ht', MAP.HUGETLB],
  ['dp', MAP.DROPPABLE],
])

/** Number of the madvise advice for each VmFlags word that shows one in force. */
export const ADVICE_OF_VM_FLAG: ReadonlyMap<string, number> = new Map([
  ['rr', 1],
  ['sr', 2],
  ['dc', 10],
  ['mg', 12],
  ['hg', 14],
  ['nh', 15],
  ['dd', 16],
  ['wf', 18],
])

/** The names of the bits that `value` has in `bits`, in the order of `bits`; what is left over comes last, in hex. */
export function bitNames(bits: Readonly<Record<string, number>>, value: number): string[] {
  const names: string[] = []
  let rest = value
  for (const [name, bit] of Object.entries(bits)) {
    if ((value & bit) === 0) continue
    names.push(name)
    rest &= ~bit
  }
  return rest === 0 ? names : [...names, `0x${(rest >>> 0).toString(16)}`]
}
