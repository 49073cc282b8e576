/**
 * The regions of the `hard` victim that are backed by a file, or that the kernel treats like files.
 */
import { ftruncateSync, openSync, unlinkSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { PAGE_SIZE, pageContent } from './content.js'
import { addressOf, systemCall } from './libc.js'
import { fillPart, MAP, mapPages, PROT, readPages, zeroPages } from './memory.js'
import { type Attempt, noneStored, optionalRegion, type Region, someStored } from './regions.js'

const SEED = 1
const SYS_SHMGET = 29
const SYS_SHMAT = 30
const SYS_SHMCTL = 31
const SYS_MEMFD_CREATE = 319
const SYS_MEMFD_SECRET = 447
const IPC_CREAT = 0o1000
const IPC_RMID = 0

/** Number of an open descriptor of a new file of `pages` pages, each different. */
function newFile(path: string, pages: number): number {
  const fd = openSync(path, 'w+', 0o600)
  for (let page = 0; page < pages; page += 1)
    writeSync(fd, pageContent(page, 99), 0, PAGE_SIZE, page * PAGE_SIZE)
  return fd
}

function newMemfd(name: string, pages: number): number {
  const path = Buffer.from(`${name}\0`)
  const fd = systemCall('memfd_create', SYS_MEMFD_CREATE, addressOf(path), 0)
  ftruncateSync(fd, pages * PAGE_SIZE)
  return fd
}

/** A private mapping of 32 pages of `fd`: 8 written, 8 only read, one written with zeros, the rest untouched. */
function copiedOnWrite(name: string, fd: number): Region {
  const address = mapPages(32, { flags: MAP.PRIVATE, fd })
  fillPart(address, 0, 8, SEED)
  readPages(address + 8 * PAGE_SIZE, 8)
  zeroPages(address + 20 * PAGE_SIZE, 1)
  return someStored(name, address, 32, [
    [0, 8],
    [20, 1],
  ])
}

/** Private mappings of files: kept, deleted, shorter than the mapping, /dev/zero. */
export function privateFileRegions(directory: string): readonly Region[] {
  const kept = copiedOnWrite('file-private', newFile(join(directory, 'kept'), 32))
  const deletedPath = join(directory, 'deleted')
  const deleted = copiedOnWrite('file-deleted', newFile(deletedPath, 32))
  unlinkSync(deletedPath)
  const short = mapPages(8, { flags: MAP.PRIVATE, fd: newFile(join(directory, 'short'), 4) })
  fillPart(short, 1, 1, SEED)
  const zero = mapPages(16, { flags: MAP.PRIVATE, fd: openSync('/dev/zero', 'r+') })
  fillPart(zero, 0, 4, SEED)
  readPages(zero + 4 * PAGE_SIZE, 4)
  const readOnly = mapPages(8, {
    flags: MAP.PRIVATE,
    protection: PROT.READ,
    fd: newFile(join(directory, 'read'), 8),
  })
  readPages(readOnly, 8)
  return [
    kept,
    deleted,
    someStored('file-past-end', short, 8, [[1, 1]]),
    someStored('dev-zero', zero, 16, [[0, 4]]),
    noneStored('file-read-only', readOnly, 8),
  ]
}

/** Shared mappings: of a file, of nothing, of a memfd; and a private mapping of a memfd. */
export function sharedRegions(directory: string): readonly Region[] {
  const filledRegion = (name: string, flags: number, fd: number): Region => {
    const address = mapPages(16, { flags, fd })
    fillPart(address, 0, 16, SEED)
    return noneStored(name, address, 16)
  }
  return [
    filledRegion('file-shared', MAP.SHARED, newFile(join(directory, 'shared'), 16)),
    filledRegion('anonymous-shared', MAP.SHARED + MAP.ANONYMOUS, -1),
    filledRegion('memfd-shared', MAP.SHARED, newMemfd('shared', 16)),
    copiedOnWrite('memfd-private', newMemfd('private', 32)),
  ]
}

/** System V shared memory, marked to vanish with its last user. */
export function sysvRegion(): Attempt {
  return optionalRegion('System V shared memory', () => {
    const id = systemCall('shmget', SYS_SHMGET, 0, 16 * PAGE_SIZE, IPC_CREAT + 0o600)
    const address = systemCall('shmat', SYS_SHMAT, id, 0, 0)
    systemCall('shmctl', SYS_SHMCTL, id, IPC_RMID, 0)
    fillPart(address, 0, 16, SEED)
    return noneStored('sysv', address, 16)
  })
}

/** Memory that even the kernel cannot read. */
export function secretRegion(): Attempt {
  return optionalRegion('memfd_secret', () => {
    const fd = systemCall('memfd_secret', SYS_MEMFD_SECRET, 0)
    ftruncateSync(fd, 4 * PAGE_SIZE)
    const address = mapPages(4, { flags: MAP.SHARED, fd })
    fillPart(address, 0, 4, SEED)
    return noneStored('secret', address, 4)
  })
}
