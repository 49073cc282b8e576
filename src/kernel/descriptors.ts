/** Open descriptors of a process, and those whose kernel side writes to memory behind every tracker's back. */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs'

/** One descriptor. */
export interface Descriptor {
  readonly fd: number
  /** Text of the link in /proc/PID/fd. */
  readonly target: string
}

/** The descriptors of process `pid`; those that close meanwhile are left out. */
export function listDescriptors(pid: number): Descriptor[] {
  const folder = `/proc/${String(pid)}/fd`
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

const DMA_TARGETS: readonly (readonly [pattern: RegExp, name: string])[] = [
  [/^anon_inode:\[io_uring\]/, 'io_uring'],
  [/^\/dev\/infiniband\//, 'RDMA'],
  [/^anon_inode:(\[vfio|vfio)|^\/dev\/vfio\//, 'vfio'],
  [/^\/dev\/(nvidia|dri\/|kfd|accel)/, 'GPU'],
]

/**
 * What of process `pid` may have memory pinned, so that a device or the kernel writes to it unseen: names for a
 * message, none if there is nothing.
 */
export function pinningDescriptors(pid: number): string[] {
  const names = new Set<string>()
  for (const { target } of listDescriptors(pid)) {
    for (const [pattern, name] of DMA_TARGETS) if (pattern.test(target)) names.add(name)
  }
  return [...names]
}

/** Addresses and lengths, in bytes, of the buffers that io_uring has pinned for process `pid`. source: io_uring/fdinfo.c */
export function registeredBuffers(pid: number): { readonly address: number; readonly length: number }[] {
  return listDescriptors(pid)
    .filter(({ target }) => target === 'anon_inode:[io_uring]')
    .flatMap(({ fd }) => bufferLines(pid, fd))
}

function bufferLines(pid: number, fd: number): { address: number; length: number }[] {
  let text: string
  try {
    text = readFileSync(`/proc/${String(pid)}/fdinfo/${String(fd)}`, 'latin1')
  } catch {
    return []
  }
  const section = text.slice(Math.max(0, text.indexOf('UserBufs')))
  return [...section.matchAll(/^\s*\d+:\s*(0x[0-9a-f]+)\/(\d+)/gm)].map((match) => ({
    address: Number(match[1] ?? 0),
    length: Number(match[2] ?? 0),
  }))
}
