/**
 * files.img: the executable and the mapped files, each under the id that mm-PID.img names it by.
 *
 * source: criu/files-reg.c dump_one_reg_file, criu/file-ids.c
 */
import type { Vma } from '../core/vma.js'
import { FILES_MAGICS } from './magic.js'
import type { FileEntry } from './messages.js'
import { decodeImage, encodeImage } from './typed-image.js'
import { needsFileId } from './vma-entry.js'

/** What makes a file the same file: device, inode, and the path it was reached by. */
export interface FileIdentity {
  readonly devMajor: number
  readonly devMinor: number
  readonly inode: number
  /** As maps or the exe link prints it, ` (deleted)` included: who opened the bare path would get another file. */
  readonly path: string
}

/** Files by id: the one at index i has the id i + 1, since 0 is no id. */
export interface FileTable {
  readonly files: readonly FileIdentity[]
  readonly ids: ReadonlyMap<string, number>
}

/** The table of `exe`, which gets id 1, and of the files that `vmas` map, in their order. */
export function collectFiles(exe: FileIdentity, vmas: readonly Vma[]): FileTable {
  const files: FileIdentity[] = []
  const ids = new Map<string, number>()
  const add = (file: FileIdentity): void => {
    const key = fileKey(file)
    if (ids.has(key)) return
    files.push({ devMajor: file.devMajor, devMinor: file.devMinor, inode: file.inode, path: file.path })
    ids.set(key, files.length)
  }
  add(exe)
  for (const vma of vmas) if (needsFileId(vma)) add(vma)
  return { files, ids }
}

/** The id of `file`, or undefined where the table does not have it. */
export function fileId(table: FileTable, file: FileIdentity): number | undefined {
  return table.ids.get(fileKey(file))
}

/**
 * files.img: a regular file each.
 *
 * CRIU describes memfds by messages that restoring needs; nothing here restores, so they are regular files
 * too, and keep their name.
 */
export function encodeFiles(table: FileTable): Uint8Array {
  const fown = { uid: 0, euid: 0, signum: 0, pidType: 0, pid: 0 }
  const entries = table.files.map((file, index): FileEntry => {
    const id = index + 1
    return { type: 'REG', id, reg: { id, flags: 0, pos: 0n, fown, name: file.path } }
  })
  return encodeImage(FILES_MAGICS, 'file_entry', entries)
}

/** The messages of files.img. Throws `BAD_IMAGE`. */
export function decodeFiles(bytes: Uint8Array, path: string): FileEntry[] {
  return decodeImage(FILES_MAGICS, 'file_entry', bytes, path)
}

function fileKey(file: FileIdentity): string {
  return `${file.devMajor}:${file.devMinor}:${file.inode}:${file.path}`
}
