/**
 * Open descriptors of a process, and those whose kernel side writes to memory behind every tracker's back.
 *
 * All go by a live thread: a main thread that has ended has no descriptors, though the others have.
 */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs'

/** One descriptor. */
export interface Descriptor {
  readonly fd: number
  /** Text of the link in /proc/TID/fd. */
  readonly target: string
}

/** What Tidemark has to know of a process's descriptors. */
export interface OpenDescriptors {
  readonly count: number
  /** What may have memory pinned, so that a device or the kernel writes to it unseen: names for a message. */
  readonly pinning: readonly string[]
  /** Numbers of the io_urings. */
  readonly rings: readonly number[]
  /** Numbers of the userfaultfds. */
  readonly userfaultfds: readonly number[]
}

/** A process of which nothing is to be known. */
export const NO_DESCRIPTORS: OpenDescriptors = { count: 0, pinning: [], rings: [], userfaultfds: [] }

/** Bytes of memory. */
export interface ByteRange {
  readonly address: number
  readonly length: number
}

/** Links in /proc/TID/fd, and paths in maps. source: io_uring/io_uring.c io_uring_get_file, fs/userfaultfd.c */
const RING = 'anon_inode:[io_uring]'
const USERFAULTFD = 'anon_inode:[userfaultfd]'

/** Path in maps of the ring of Linux AIO. source: fs/aio.c aio_private_file */
const AIO_PATH = '/[aio]'

const DMA_TARGETS: readonly (readonly [pattern: RegExp, name: string])[] = [
  [/^anon_inode:\[io_uring\]/, 'io_uring'],
  [/^\/dev\/infiniband\//, 'RDMA'],
  [/^anon_inode:(\[vfio|vfio)|^\/dev\/vfio\//, 'vfio'],
  [/^\/dev\/(nvidia|dri\/|kfd|accel)/, 'GPU'],
]

/** So many descriptors are looked at again in a millisecond or two; 15,000 would take a tenth of a second. */
const FEW = 128

/** The descriptors that thread `tid` has; those that close meanwhile are left out. */
export function listDescriptors(tid: number): Descriptor[] {
  const folder = `/proc/${String(tid)}/fd`
  let names: string[]
  try {
    names = readdirSync(folder)
  } catch {
    return []
  }
  return names.flatMap((name) => {
    try {
      return [{ fd: Number(name), target: readlinkSync(`${folder}/${name}`) }]
    } catch {
      return []
    }
  })
}

/** Looks at every descriptor that thread `tid` has: some 10 microseconds each. */
export function surveyDescriptors(tid: number): OpenDescriptors {
  const all = listDescriptors(tid)
  const pinning = new Set<string>()
  for (const { target } of all) {
    const name = pinningName(target)
    if (name !== undefined) pinning.add(name)
  }
  const numbers = (link: string): number[] => all.filter(({ target }) => target === link).map(({ fd }) => fd)
  return {
    count: all.length,
    pinning: [...pinning],
    rings: numbers(RING),
    userfaultfds: numbers(USERFAULTFD),
  }
}

/**
 * The same again, while the process stands: of a process with many descriptors those of `before`, unless its maps show
 * that it has other devices now. (One that maps nothing is missed there.)
 *
 * @param hasOthers - its maps show another number of io_urings and devices than before
 */
export function resurveyDescriptors(
  tid: number,
  before: OpenDescriptors,
  hasOthers: boolean,
): OpenDescriptors {
  return before.count <= FEW || hasOthers ? surveyDescriptors(tid) : before
}

/** What may pin memory, by a link in /proc/TID/fd or a path in maps: a name for a message, or undefined. */
export function pinningName(path: string): string | undefined {
  if (path.startsWith(AIO_PATH)) return 'AIO'
  if (!path.startsWith('anon_inode:') && !path.startsWith('/dev/')) return undefined
  return DMA_TARGETS.find(([pattern]) => pattern.test(path))?.[1]
}

/** The buffers that the io_urings `rings` of thread `tid` have pinned. source: io_uring/fdinfo.c */
export function registeredBuffers(tid: number, rings: readonly number[]): ByteRange[] {
  return rings.flatMap((fd) => bufferLines(tid, fd))
}

function bufferLines(tid: number, fd: number): ByteRange[] {
  let text: string
  try {
    text = readFileSync(`/proc/${String(tid)}/fdinfo/${String(fd)}`, 'latin1')
  } catch {
    return []
  }
  const section = text.slice(Math.max(0, text.indexOf('UserBufs')))
  return [...section.matchAll(/^\s*\d+:\s*(0x[0-9a-f]+)\/(\d+)/gm)].map((match) => ({
    address: Number(match[1] ?? 0),
    length: Number(match[2] ?? 0),
  }))
}
