/**
 * Reading a snapshot: Tidemark's own, checked against its manifest, or a directory of CRIU's.
 *
 * A page is found by its number in the pagemap; the pages before it that are stored tell its place in
 * pages-N.img.
 */
import {
  closeSync,
  existsSync,
  fstatSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  statSync,
} from 'node:fs'
import { join } from 'node:path'

import { codeOf, TidemarkError } from '../errors.js'
import { badImage } from './bad-image.js'
import { decodeFiles } from './files.js'
import { decodeManifest, MANIFEST_NAME, type Manifest } from './manifest.js'
import type { FileEntry, MmEntry, PstreeEntry } from './messages.js'
import { auxvValue, decodeMm } from './mm.js'
import { decodePagemap, entryOffsets, entryOfPage, PE_PRESENT, type Pagemap } from './pagemap.js'
import { decodePstree } from './pstree.js'
import { PARTIAL_NAME } from './stale-run.js'
import { decodeDumpStats, type DumpStats } from './stats.js'

/** What the images of a snapshot say. */
export interface SnapshotImages {
  /** Undefined for a directory that CRIU wrote. */
  readonly manifest: Manifest | undefined
  /** The PID in the images' names. */
  readonly pid: number
  /** In bytes. */
  readonly pageSize: number
  readonly processes: readonly PstreeEntry[]
  readonly mm: MmEntry
  readonly pagemap: Pagemap
  /** Of files.img; empty where there is none. */
  readonly files: readonly FileEntry[]
  readonly stats: DumpStats | undefined
}

/** An open snapshot. */
export class Snapshot {
  readonly images: SnapshotImages
  readonly #pagesFd: number
  /** Where each entry's pages begin in pages-N.img, in pages. */
  readonly #offsetPages: Float64Array
  readonly #pagesPath: string
  #open = true

  /** Takes over `pagesFd`. Made by {@link readSnapshot}. */
  constructor(images: SnapshotImages, pagesFd: number, pagesPath: string) {
    this.images = images
    this.#pagesFd = pagesFd
    this.#pagesPath = pagesPath
    this.#offsetPages = entryOffsets(images.pagemap)
  }

  /**
   * The content of page number `page`, or undefined where pages-N.img does not have it: it is zero, unmapped,
   * in its file, in the parent images or in the manifest's list of what is missing.
   *
   * Throws `BAD_IMAGE` if the file has shrunk.
   */
  readPage(page: number): Uint8Array | undefined {
    const { pagemap, pageSize } = this.images
    const row = entryOfPage(pagemap, page)
    if (row < 0 || ((pagemap.flags[row] ?? 0) & PE_PRESENT) === 0) return undefined
    const content = Buffer.alloc(pageSize)
    const offset = ((this.#offsetPages[row] ?? 0) + page - (pagemap.startPage[row] ?? 0)) * pageSize
    if (readSync(this.#pagesFd, content, 0, pageSize, offset) !== pageSize) {
      throw badImage(this.#pagesPath, `truncated: it ends before offset ${offset + pageSize}`)
    }
    return content
  }

  /** Numbers of the pages that {@link readPage} has content for, ascending. */
  *storedPages(): Generator<number> {
    const { pagemap } = this.images
    for (let row = 0; row < pagemap.count; row++) {
      if (((pagemap.flags[row] ?? 0) & PE_PRESENT) === 0) continue
      const start = pagemap.startPage[row] ?? 0
      const end = start + (pagemap.pageCount[row] ?? 0)
      for (let page = start; page < end; page++) yield page
    }
  }

  /** Closes pages-N.img. */
  close(): void {
    if (this.#open) closeSync(this.#pagesFd)
    this.#open = false
  }

  /** The same as {@link close}, for `using`. */
  [Symbol.dispose](): void {
    this.close()
  }
}

/**
 * The snapshot in the images directory `folder`. The caller closes it.
 *
 * Throws `BAD_IMAGE` if there is none, if an image is missing or damaged, or if sizes and counts do not agree,
 * `PERMISSION_DENIED` if an image can't be read.
 */
export function readSnapshot(folder: string): Snapshot {
  const manifest = readManifest(folder)
  const processes = decodeAt(join(folder, 'pstree.img'), decodePstree)
  const pid = manifest?.target.nsPid ?? processes[0]?.pid
  if (pid === undefined) throw badImage(join(folder, 'pstree.img'), 'it lists no process')
  const mmPath = join(folder, `mm-${pid}.img`)
  const mm = decodeAt(mmPath, decodeMm)
  const pageSize = manifest?.pageSize ?? pageSizeOf(mm, mmPath)
  const pagemap = readPagemap(folder, pid, pageSize)
  if (manifest !== undefined) checkManifest(manifest, folder, pagemap, mm)
  const images = {
    manifest,
    pid,
    pageSize,
    processes,
    mm,
    pagemap,
    files: decodeOptional(join(folder, 'files.img'), decodeFiles) ?? [],
    stats: decodeOptional(join(folder, 'stats-dump'), decodeDumpStats),
  }
  const pages = openPages(folder, images)
  return new Snapshot(images, pages.fd, pages.path)
}

/** pagemap-PID.img of `folder`. Throws `BAD_IMAGE`. */
export function readPagemap(folder: string, pid: number, pageSize: number): Pagemap {
  const path = join(folder, `pagemap-${pid}.img`)
  return decodePagemap(readImage(path), path, pageSize)
}

/** The pages file that belongs to the pagemap, opened for reading; the caller closes it. Throws `BAD_IMAGE`. */
export function openPages(
  folder: string,
  images: Pick<SnapshotImages, 'pagemap' | 'pageSize' | 'manifest'>,
): { readonly fd: number; readonly path: string } {
  const path = join(folder, `pages-${images.pagemap.pagesId}.img`)
  const fd = reading(path, () => openSync(path, 'r'))
  try {
    checkPagesSize(fstatSync(fd).size, images, path)
    return { fd, path }
  } catch (error) {
    closeSync(fd)
    throw error
  }
}

/** The marker of `folder`, or undefined where CRIU wrote the images. Throws `BAD_IMAGE` where there are none. */
export function readManifest(folder: string): Manifest | undefined {
  const path = join(folder, MANIFEST_NAME)
  reading(folder, () => readdirSync(folder))
  if (existsSync(path)) return decodeManifest(readImage(path), path)
  if (existsSync(join(folder, PARTIAL_NAME))) {
    throw badImage(folder, 'no snapshot: a dump into it is under way, or was killed; dump again')
  }
  // A pre-dump of CRIU's has an inventory and no pstree.img.
  if (['pstree.img', 'inventory.img'].some((name) => existsSync(join(folder, name)))) return undefined
  throw badImage(folder, `no snapshot: it has neither ${MANIFEST_NAME} nor CRIU's images`)
}

function checkManifest(manifest: Manifest, folder: string, pagemap: Pagemap, mm: MmEntry): void {
  for (const { name, bytes } of manifest.files) {
    const path = join(folder, name)
    const { size } = reading(path, () => statSync(path))
    if (size === bytes) continue
    throw badImage(path, `it has ${size} bytes, ${MANIFEST_NAME} says ${bytes}`)
  }
  const facts = [
    ['pagesId', manifest.pagesId, pagemap.pagesId],
    ['counts.runs', manifest.counts.runs, pagemap.count],
    ['counts.pagesStored', manifest.counts.pagesStored, entryOffsets(pagemap)[pagemap.count] ?? 0],
  ] as const
  for (const [field, said, found] of facts) {
    if (said === found) continue
    throw badImage(join(folder, MANIFEST_NAME), `field ${field} is ${said}, the pagemap has ${found}`)
  }
  if (mm.vmas.length === 0) throw badImage(join(folder, `mm-${manifest.target.nsPid}.img`), 'it has no VMA')
}

/** CRIU may leave garbage behind the last page, and reads over it; Tidemark's file has its exact size. */
function checkPagesSize(
  bytes: number,
  images: Pick<SnapshotImages, 'pagemap' | 'pageSize' | 'manifest'>,
  path: string,
): void {
  const { pagemap, pageSize, manifest } = images
  const expected = (entryOffsets(pagemap)[pagemap.count] ?? 0) * pageSize
  if (bytes === expected || (manifest === undefined && bytes > expected)) return
  throw badImage(path, `it has ${bytes} bytes, the pagemap needs ${expected}`)
}

/** The AT_PAGESZ that the process was given. source: include/uapi/linux/auxvec.h */
function pageSizeOf(mm: MmEntry, path: string): number {
  const pageSize = Number(auxvValue(mm.mmSavedAuxv, 6n) ?? 0n)
  if (pageSize > 0 && Number.isInteger(Math.log2(pageSize))) return pageSize
  throw badImage(path, 'its auxiliary vector has no page size')
}

function decodeAt<T>(path: string, decode: (bytes: Uint8Array, path: string) => T): T {
  return decode(readImage(path), path)
}

function decodeOptional<T>(path: string, decode: (bytes: Uint8Array, path: string) => T): T | undefined {
  return existsSync(path) ? decodeAt(path, decode) : undefined
}

function readImage(path: string): Uint8Array {
  return reading(path, () => readFileSync(path))
}

function reading<T>(path: string, read: () => T): T {
  try {
    return read()
  } catch (error) {
    const errno = codeOf(error) ?? 'unknown'
    if (errno === 'ENOENT') throw badImage(path, 'missing: there is no such file or directory')
    if (errno === 'EACCES' || errno === 'EPERM') {
      throw new TidemarkError(
        'PERMISSION_DENIED',
        `can't read ${path}: ${errno}; images are readable by their owner only`,
        { path, errno },
        error,
      )
    }
    throw badImage(path, "can't be read", error)
  }
}
