/**
 * A userfaultfd that lives in another process, used through a copy of its descriptor.
 *
 * source: include/uapi/linux/userfaultfd.h, fs/userfaultfd.c
 */
import { closeSync } from 'node:fs'
import { TidemarkError } from '../errors.js'
import { SYS, UFFD, UFFDIO } from './abi.js'
import { listDescriptors } from './descriptors.js'
import { errnoName, ioctl, syscall, syscallError } from './libc.js'
import { pageSize } from './page-size.js'
import { readProcText } from './procfs.js'

/** Text of the link in /proc/PID/fd. source: fs/userfaultfd.c userfaultfd_fops, anon_inode_create_getfd */
const LINK = 'anon_inode:[userfaultfd]'

/** Descriptor numbers and inodes of the userfaultfds that process `pid` has open. */
export function findUserfaultfds(pid: number): { readonly fd: number; readonly inode: number }[] {
  return listDescriptors(pid)
    .filter(({ target }) => target === LINK)
    .flatMap(({ fd }) => {
      const inode = descriptorInode(pid, fd)
      return inode === undefined ? [] : [{ fd, inode }]
    })
}

/** A copy, in this process, of userfaultfd `fd` of process `pid`. The caller closes it. Throws `SYSCALL_FAILED`. */
export function borrowUserfaultfd(pid: number, fd: number): Userfaultfd {
  const pidfd = syscall(SYS.pidfdOpen, pid, 0, 0, 0, 0)
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
function descriptorInode(pid: number, fd: number): number | undefined {
  const text = readProcText(`/proc/${String(pid)}/fdinfo/${String(fd)}`)
  return text === undefined ? undefined : Number(/^ino:\s*(\d+)/m.exec(text)?.[1] ?? 0)
}

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

  /**
   * Sets a new one up: write protection that the kernel takes off by itself, and no event that somebody would
   * have to read (the process would wait for a reader for ever). Throws `TRACKER_UNAVAILABLE`.
   */
  enableAsyncWriteProtect(): void {
    const features = UFFD.FEATURE_PAGEFAULT_FLAG_WP | UFFD.FEATURE_WP_ASYNC
    const api = new BigUint64Array([UFFD.API, features, 0n])
    if (ioctl(this.#fd, UFFDIO.API, api) < 0) {
      throw new TidemarkError(
        'TRACKER_UNAVAILABLE',
        `userfaultfd cannot write-protect asynchronously here (UFFDIO_API failed with ${errnoName()}; Linux 6.7 has it)`,
      )
    }
  }

  /** Has pages [`startPage`, `endPage`) watched, gaps allowed; false where some VMA there cannot be. */
  register(startPage: number, endPage: number): boolean {
    const size = pageSize()
    this.#range[0] = BigInt(startPage * size)
    this.#range[1] = BigInt((endPage - startPage) * size)
    this.#range[2] = UFFD.REGISTER_MODE_WP
    this.#range[3] = 0n
    return ioctl(this.#fd, UFFDIO.REGISTER, this.#range) >= 0
  }

  close(): void {
    closeSync(this.#fd)
  }
}
