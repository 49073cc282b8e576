/**
 * A userfaultfd that lives in another process, used through a copy of its descriptor.
 *
 * source: include/uapi/linux/userfaultfd.h, fs/userfaultfd.c
 */
import { closeSync } from 'node:fs'
import { TidemarkError } from '../errors.js'
import { PIDFD_THREAD, SYS, UFFD, UFFDIO } from './abi.js'
import { surveyDescriptors } from './descriptors.js'
import { errnoName, ioctl, syscall, syscallError } from './libc.js'
import { pageSize } from './page-size.js'
import { readProcText } from './procfs.js'

/** A userfaultfd of another process: its number there, and its inode, which no other has. */
export interface RemoteUserfaultfd {
  readonly fd: number
  readonly inode: number
}

/** What opened one: O_CLOEXEC and O_NONBLOCK, as fdinfo shows them in octal digits. source: asm-generic/fcntl.h */
const OUR_FLAGS = 0o2004000

/**
 * The userfaultfds that thread `tid` has open.
 *
 * @param fds - numbers of those to look at; all where it is not given
 */
export function findUserfaultfds(
  tid: number,
  fds: readonly number[] = surveyDescriptors(tid).userfaultfds,
): RemoteUserfaultfd[] {
  return fds.flatMap((fd) => {
    const inode = descriptorInode(tid, fd)
    return inode === undefined ? [] : [{ fd, inode }]
  })
}

/**
 * Whether userfaultfd `fd` of thread `tid` could be one that we have opened: by how it was opened and set up. Another
 * one may look the same.
 */
export function looksLikeOurs(tid: number, fd: number): boolean {
  const { flags, features } = readSetup(tid, fd)
  const asked = features & ~(UFFD.INITIALIZED | UFFD.FEATURE_WP_UNPOPULATED)
  return (flags & OUR_FLAGS) === OUR_FLAGS && (features === 0n || asked === OUR_FEATURES)
}

/** Whether thread `tid` has a userfaultfd that somebody has to read before a fork is done. */
export function isToldOfForks(tid: number): boolean {
  return surveyDescriptors(tid).userfaultfds.some(
    (fd) => (readSetup(tid, fd).features & UFFD.FEATURE_EVENT_FORK) !== 0n,
  )
}

/** How a userfaultfd was opened, and what was asked for by UFFDIO_API. source: fs/userfaultfd.c userfaultfd_show_fdinfo */
function readSetup(tid: number, fd: number): { readonly flags: number; readonly features: bigint } {
  const text = readProcText(`/proc/${String(tid)}/fdinfo/${String(fd)}`) ?? ''
  return {
    flags: parseInt(/^flags:\s*([0-7]+)/m.exec(text)?.[1] ?? '0', 8),
    features: BigInt(`0x${/^API:\s*aa:([0-9a-f]+):/m.exec(text)?.[1] ?? '0'}`),
  }
}

/**
 * A copy, in this process, of userfaultfd `fd` of process `pid`. The caller closes it.
 *
 * @param tid - a live thread of it; another than the main thread, which has ended then, needs Linux 6.9
 * @throws SYSCALL_FAILED
 */
export function borrowUserfaultfd(pid: number, tid: number, fd: number): Userfaultfd {
  const pidfd = syscall(SYS.pidfdOpen, tid, tid === pid ? 0 : PIDFD_THREAD, 0, 0, 0)
  if (pidfd < 0) throw syscallError('pidfd_open', `cannot open process ${String(pid)}`, { pid })
  try {
    const own = syscall(SYS.pidfdGetfd, pidfd, fd, 0, 0, 0)
    if (own < 0)
      throw syscallError('pidfd_getfd', `cannot copy descriptor ${String(fd)} of process ${String(pid)}`, {
        pid,
      })
    return new Userfaultfd(own, fd, descriptorInode(process.pid, own) ?? 0)
  } finally {
    closeSync(pidfd)
  }
}

/**
 * Inode number that the kernel shows for a descriptor: each userfaultfd has its own. Undefined where it has been
 * closed, 0 where the kernel does not tell (before Linux 5.14).
 */
function descriptorInode(tid: number, fd: number): number | undefined {
  const text = readProcText(`/proc/${String(tid)}/fdinfo/${String(fd)}`)
  return text === undefined ? undefined : Number(/^ino:\s*(\d+)/m.exec(text)?.[1] ?? 0)
}

/**
 * Write protection that the kernel takes off by itself, and no event that somebody would have to read: the process would
 * wait for a reader for ever.
 */
const OUR_FEATURES = UFFD.FEATURE_PAGEFAULT_FLAG_WP | UFFD.FEATURE_WP_ASYNC

/** A userfaultfd. */
export class Userfaultfd {
  readonly #fd: number
  /** Its descriptor in the process whose memory it watches. */
  readonly remoteFd: number
  readonly inode: number
  readonly #range = new BigUint64Array(4)

  constructor(fd: number, remoteFd: number, inode: number) {
    this.#fd = fd
    this.remoteFd = remoteFd
    this.inode = inode
  }

  /** Sets a new one up for asynchronous write protection. Throws `TRACKER_UNAVAILABLE`. */
  enableAsyncWriteProtect(): void {
    const api = new BigUint64Array([UFFD.API, OUR_FEATURES, 0n])
    if (ioctl(this.#fd, UFFDIO.API, api) < 0) {
      throw new TidemarkError(
        'TRACKER_UNAVAILABLE',
        `userfaultfd cannot write-protect asynchronously here (UFFDIO_API failed with ${errnoName()}; Linux 6.7 has it)`,
      )
    }
  }

  /** Has pages [`startPage`, `endPage`) watched, gaps allowed; false where some VMA there cannot be. */
  register(startPage: number, endPage: number): boolean {
    this.#setRange(startPage, endPage)
    return ioctl(this.#fd, UFFDIO.REGISTER, this.#range) >= 0
  }

  /**
   * Ends that, and takes all protection off, gaps allowed; false where some VMA there cannot be watched. Some kernels
   * would do it for another userfaultfd's VMAs too: {@link register} first tells whether they are ours.
   */
  unregister(startPage: number, endPage: number): boolean {
    this.#setRange(startPage, endPage)
    return ioctl(this.#fd, UFFDIO.UNREGISTER, this.#range) >= 0
  }

  close(): void {
    closeSync(this.#fd)
  }

  /** For both requests: the first two words are struct uffdio_range, all four struct uffdio_register. */
  #setRange(startPage: number, endPage: number): void {
    const size = pageSize()
    this.#range[0] = BigInt(startPage * size)
    this.#range[1] = BigInt((endPage - startPage) * size)
    this.#range[2] = UFFD.REGISTER_MODE_WP
    this.#range[3] = 0n
  }
}
