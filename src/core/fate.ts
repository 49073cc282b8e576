/**
 * What becomes of each VMA: which of its pages are stored, and what a snapshot can't hold of it.
 *
 * CRIU's rules (source: criu/mem.c should_dump_page, criu/proc_parse.c): private anonymous pages and file
 * pages that were copied on write; [vdso] and AIO rings whole; never vvar, vsyscall, device memory or
 * droppable memory. A shared file mapping is in its file. Whatever is in no file and not stored is named.
 */
import { vmaPages, type Vma } from './vma.js'

/**
 * Which pages of a VMA are stored.
 * - `anonymous`: all present or swapped pages but the zero page and guard pages
 * - `file-private`: the same, and only those that no longer belong to the file
 * - `whole`: every page, present or not
 * - `none`: no page
 */
export type StoreClass = 'anonymous' | 'file-private' | 'whole' | 'none'

/** Why memory is in no image though no file holds it either. */
export type MissingReason =
  | 'shared-anonymous'
  | 'sysv-shm'
  | 'memfd'
  | 'deleted-file'
  | 'device-memory'
  | 'kernel-object'
  | 'secret-memory'
  | 'unreadable'

/** The fate of one VMA. */
export interface VmaFate {
  readonly store: StoreClass
  /** Set where the VMA has, or may have, content that neither the snapshot nor a file holds. */
  readonly missing?: MissingReason
}

/** Memory that a snapshot lacks. */
export interface MissingRange {
  readonly reason: MissingReason
  readonly startPage: number
  /** Exclusive. */
  readonly endPage: number
  /** Pages of the range that are not stored. */
  readonly pages: number
  readonly path: string
}

const NOTHING: VmaFate = { store: 'none' }

/**
 * The fate of `vma`. Where its flags are unknown it is taken as ordinary memory: that stores too much
 * rather than too little, and {@link needsFlags} tells where it would not be safe.
 */
export function vmaFate(vma: Vma): VmaFate {
  let fate = knownFates.get(vma)
  if (fate === undefined) {
    fate = judge(vma)
    knownFates.set(vma, fate)
  }
  return fate
}

/** A VMA never changes: while a target stands nobody judges its thousands again. */
const knownFates = new WeakMap<Vma, VmaFate>()

function judge(vma: Vma): VmaFate {
  if (vma.path === '[vdso]') return { store: 'whole' }
  if (vma.path.startsWith('[vvar') || vma.path === '[vsyscall]' || vma.path === '[uprobes]') return NOTHING
  if (vma.flags?.has('io') === true || vma.flags?.has('pf') === true)
    return { store: 'none', missing: 'device-memory' }
  if (vma.flags?.has('dp') === true) return NOTHING
  return vma.shared ? sharedFate(vma) : privateFate(vma)
}

/** Whether reading `vma` without knowing its flags could touch a device: its mapping has a file we know nothing of. */
export function needsFlags(vma: Vma): boolean {
  return vma.flags === undefined && (vma.inode !== 0 || (vma.path !== '' && !vma.path.startsWith('[')))
}

/** DONTFORK, WIPEONFORK, hugetlb. source: fs/proc/task_mmu.c show_smap_vma_flags */
const UNFORKED_FLAGS = ['dc', 'wf', 'ht']

/**
 * Whether a fork of the process holds what `vma` holds: not shared memory, which goes on changing, nor what the process
 * wants kept from its children (V8 does, of its heap); and pages of the huge page pool may be taken away from them.
 *
 * Unknown flags may be any of these, but for the heap and the stack that the kernel made.
 *
 * source: kernel/fork.c dup_mmap, man 2 madvise, mm/hugetlb.c unmap_ref_private
 */
export function isForked({ shared, flags, path }: Vma): boolean {
  if (shared) return false
  if (flags === undefined) return path === '[heap]' || path === '[stack]'
  return !UNFORKED_FLAGS.some((flag) => flags.has(flag))
}

/**
 * Whether faults in `vma` are for a userfaultfd of the process's own: whoever reads a page that is not there waits for
 * that server, for ever if the server waits for us.
 */
export function isServed({ flags }: Vma): boolean {
  return flags !== undefined && (flags.has('um') || flags.has('ui'))
}

/**
 * The ranges of `vmas` that a snapshot lacks, wholly or in part, in address order.
 *
 * @param storedWithin - how many pages from one up to, not including, another are stored
 */
export function missingRanges(
  vmas: readonly Vma[],
  storedWithin: (startPage: number, endPage: number) => number,
): MissingRange[] {
  const ranges: MissingRange[] = []
  for (const vma of vmas) {
    const { missing } = vmaFate(vma)
    if (missing === undefined) continue
    const { startPage, endPage, path } = vma
    const pages = vmaPages(vma) - storedWithin(startPage, endPage)
    if (pages > 0) ranges.push({ reason: missing, startPage, endPage, pages, path })
  }
  return ranges
}

function sharedFate(vma: Vma): VmaFate {
  const { path } = vma
  if (path === '/[aio] (deleted)' || path === '/[aio]') return { store: 'whole' }
  if (path.startsWith('/SYSV')) return { store: 'none', missing: 'sysv-shm' }
  if (path.startsWith('/memfd:')) return { store: 'none', missing: 'memfd' }
  if (path.startsWith('/secretmem')) return { store: 'none', missing: 'secret-memory' }
  if (
    path === '' ||
    path.startsWith('[anon_shmem:') ||
    path === '/dev/zero (deleted)' ||
    isAnonymousHuge(vma)
  ) {
    return { store: 'none', missing: 'shared-anonymous' }
  }
  if (path.endsWith(' (deleted)')) return { store: 'none', missing: 'deleted-file' }
  if (!path.startsWith('/')) return { store: 'none', missing: 'kernel-object' }
  if (path.startsWith('/dev/') && !/^\/dev\/(shm|hugepages|mqueue)\//.test(path)) {
    return { store: 'none', missing: 'device-memory' }
  }
  return NOTHING
}

function privateFate(vma: Vma): VmaFate {
  const { path } = vma
  const hasFile = vma.inode !== 0 || (path !== '' && !path.startsWith('['))
  // source: drivers/char/mem.c mmap_zero: a private mapping of it is anonymous memory.
  if (!hasFile || path === '/dev/zero') return { store: 'anonymous' }
  if (path.startsWith('/memfd:')) return { store: 'file-private', missing: 'memfd' }
  if (path.endsWith(' (deleted)') && !isAnonymousHuge(vma))
    return { store: 'file-private', missing: 'deleted-file' }
  if (!path.startsWith('/')) return { store: 'file-private', missing: 'kernel-object' }
  return { store: 'file-private' }
}

/** MAP_ANONYMOUS|MAP_HUGETLB: a file of the kernel's own stands behind it. source: fs/hugetlbfs/inode.c */
function isAnonymousHuge(vma: Vma): boolean {
  return vma.path === '/anon_hugepage (deleted)' || vma.path === '/anon_hugepage'
}
