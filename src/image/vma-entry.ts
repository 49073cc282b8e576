/**
 * A VMA of /proc as CRIU's vma_entry: what kind of area it is, and what backs it.
 *
 * CRIU opens each mapped file to tell the kinds apart; here the line of maps has to do, whose paths name the
 * kernel's own files. source: criu/proc_parse.c handle_vma, __parse_vmflags, vma_list_add
 */
import type { Vma } from '../core/vma.js'
import type { VmaEntry } from './messages.js'
import { ADVICE_OF_VM_FLAG, MAP, MAP_OF_VM_FLAG, PROT, STATUS } from './vma-bits.js'

/** Whether a file, or a file of the kernel's own, stands behind `vma`. */
function hasFile(vma: Vma): boolean {
  return vma.inode !== 0 || vma.devMajor !== 0 || vma.devMinor !== 0
}

/** Whether the vma_entry of `vma` names its file by the id of a file_entry. */
export function needsFileId(vma: Vma): boolean {
  return (backing(vma).status & (STATUS.VMA_FILE_PRIVATE | STATUS.VMA_FILE_SHARED)) !== 0
}

/**
 * The vma_entry of `vma`.
 *
 * The open flags of the mapped file (fdflags) and the size of huge pages stand in no maps line, and are left out.
 *
 * @param fileId - id of the file_entry of its file, where {@link needsFileId} asks for one
 */
export function vmaEntry(vma: Vma, pageSize: number, fileId: number | undefined): VmaEntry {
  const size = BigInt(pageSize)
  const { status, anonymous, shmid } = backing(vma)
  const madv = adviceBits(vma)
  return {
    start: BigInt(vma.startPage) * size,
    end: BigInt(vma.endPage) * size,
    pgoff: BigInt(vma.fileOffset),
    shmid: BigInt(fileId ?? shmid),
    prot: protection(vma),
    flags: mapFlags(vma, anonymous),
    status: vma.flags?.has('ss') === true ? status | STATUS.VMA_AREA_SHSTK : status,
    fd: -1n,
    ...(madv === 0n ? {} : { madv }),
  }
}

/** What stands behind a VMA. `shmid` is that of memory without a file_entry. */
interface Backing {
  readonly status: number
  readonly anonymous: boolean
  readonly shmid: number
}

function backing(vma: Vma): Backing {
  const { path, shared } = vma
  if (hasFile(vma)) {
    if (path.startsWith('/[aio]')) return { status: STATUS.VMA_AREA_AIORING, anonymous: false, shmid: 0 }
    if (path.startsWith('socket:[')) {
      return { status: STATUS.VMA_AREA_REGULAR | STATUS.VMA_AREA_SOCKET, anonymous: false, shmid: vma.inode }
    }
  }
  const area = areaStatus(vma)
  if (!hasFile(vma)) {
    const status = area | (shared ? STATUS.VMA_ANON_SHARED : STATUS.VMA_ANON_PRIVATE)
    return { status, anonymous: true, shmid: 0 }
  }
  if (vma.devMajor === 0 && path.startsWith('/SYSV')) {
    return {
      status: area | STATUS.VMA_ANON_SHARED | STATUS.VMA_AREA_SYSVIPC,
      anonymous: true,
      shmid: vma.inode,
    }
  }
  if (!shared && path.startsWith('/anon_hugepage')) {
    return { status: area | STATUS.VMA_ANON_PRIVATE, anonymous: true, shmid: 0 }
  }
  const file = shared ? STATUS.VMA_FILE_SHARED : STATUS.VMA_FILE_PRIVATE
  return { status: area | file | (isMemfd(vma) ? STATUS.VMA_AREA_MEMFD : 0), anonymous: false, shmid: 0 }
}

/** The part of the status that comes from the area's name. */
function areaStatus(vma: Vma): number {
  switch (vma.path) {
    case '[vsyscall]':
    case '[vectors]':
      return STATUS.VMA_AREA_VSYSCALL
    case '[vdso]':
      return STATUS.VMA_AREA_REGULAR | (vma.read && vma.execute ? STATUS.VMA_AREA_VDSO : 0)
    case '[vvar]':
    case '[vvar_vclock]':
      return STATUS.VMA_AREA_REGULAR | (vma.read ? STATUS.VMA_AREA_VVAR : 0)
    case '[heap]':
      return STATUS.VMA_AREA_REGULAR | STATUS.VMA_AREA_HEAP
    default:
      return STATUS.VMA_AREA_REGULAR
  }
}

/** Memory of the kernel's internal tmpfs or hugetlbfs: memfd_create, and shared anonymous memory, which CRIU takes for the same. */
function isMemfd(vma: Vma): boolean {
  if (vma.devMajor !== 0) return false
  const { path } = vma
  return (
    path.startsWith('/memfd:') ||
    path.startsWith('[anon_shmem:') ||
    path === '/dev/zero (deleted)' ||
    path.startsWith('/anon_hugepage')
  )
}

function protection(vma: Vma): number {
  return (vma.read ? PROT.READ : 0) | (vma.write ? PROT.WRITE : 0) | (vma.execute ? PROT.EXEC : 0)
}

function mapFlags(vma: Vma, anonymous: boolean): number {
  let flags: number = (vma.shared ? MAP.SHARED : MAP.PRIVATE) | (anonymous ? MAP.ANONYMOUS : 0)
  for (const word of vma.flags ?? []) flags |= MAP_OF_VM_FLAG.get(word) ?? 0
  // Droppable memory is a kind of its own beside private and shared; mmap refuses both at once.
  return (flags & MAP.DROPPABLE) === 0 ? flags : flags & ~MAP.PRIVATE
}

function adviceBits(vma: Vma): bigint {
  let bits = 0n
  for (const word of vma.flags ?? []) {
    const advice = ADVICE_OF_VM_FLAG.get(word)
    if (advice !== undefined) bits |= 1n << BigInt(advice)
  }
  return bits
}
