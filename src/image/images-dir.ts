/**
 * The transaction that makes a snapshot: all of it appears in the images directory, or nothing.
 *
 *   create     DIR/.tidemark-partial/
 *   write      DIR/.tidemark-partial/{pages-1.img, pagemap-7.img, ..., parent ->, tidemark.json}
 *   publish    sizes checked, synced; each renamed into DIR, tidemark.json last     the snapshot exists
 *   discard    everything that was made is removed
 *
 * Killed at any point, it leaves either a snapshot or what the next run cleans up, see stale-run.
 */
import {
  chmodSync,
  closeSync,
  constants,
  fchmodSync,
  fstatSync,
  fsync,
  mkdirSync,
  openSync,
  renameSync,
  rmdirSync,
  rmSync,
  symlinkSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'

import { TidemarkError } from '../errors.js'
import { directoryUnusable, writeFailed } from './fs-error.js'
import {
  DIRECTORY_MODE,
  makeDirectories,
  openLocked,
  removeDirectories,
  syncDirectory,
} from './open-directory.js'
import { MANIFEST_NAME, PARENT_LINK, type ImageFile } from './manifest.js'
import { PARTIAL_NAME, refuseOccupied, removeStaleRun, statOf } from './stale-run.js'

const FILE_MODE = 0o600
const CREATE = constants.O_RDWR | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW

/** How to create an images directory. */
export interface CreateOptions {
  /**
   * Takes a lock on the open directory that ends with the process, and says whether it got it. Without one,
   * two runs at once in one directory would take each other for stale.
   */
  readonly lock: (fd: number) => boolean
}

/** How to publish. */
export interface PublishOptions {
  /** Whether files and directory are on the device before it returns. */
  readonly sync: boolean
  /** Every file but the marker, with the size that it must have. */
  readonly files: readonly ImageFile[]
  /** Asked while nothing of it can be seen yet, between the files that are synced: what it throws ends the transaction. */
  readonly proceed?: () => void
}

interface StagedFile {
  readonly fd: number
  /** What {@link ImagesDirectory.writeFile} wrote; undefined for a file that others write. */
  bytes: number | undefined
}

/** An images directory into which a snapshot is being written. */
export class ImagesDirectory {
  /** Without symbolic links. */
  readonly path: string
  /** The open directory; the lock is on it. Valid until published or discarded. */
  readonly fd: number
  readonly #made: readonly string[]
  readonly #staged = new Map<string, StagedFile>()
  readonly #renamed: string[] = []
  #hasParent = false
  #state: 'staging' | 'publishing' | 'published' | 'discarded' = 'staging'

  private constructor(path: string, fd: number, made: readonly string[]) {
    this.path = path
    this.fd = fd
    this.#made = made
  }

  /**
   * Makes or opens the directory `path`, locks it, removes what a killed run left, and opens the transaction.
   *
   * Throws `IMAGES_DIR_IN_USE` if another run has the lock or images are there, `IMAGES_DIR_UNUSABLE` if it
   * can't be made or written to; a directory that it made is removed again then.
   */
  static create(path: string, options: CreateOptions): ImagesDirectory {
    const made = makeDirectories(path)
    const { folder, fd } = openLocked(path, options.lock)
    try {
      removeStaleRun(folder)
      refuseOccupied(folder)
      mkdirSync(join(folder, PARTIAL_NAME), DIRECTORY_MODE)
      chmodSync(join(folder, PARTIAL_NAME), DIRECTORY_MODE)
      return new ImagesDirectory(folder, fd, made)
    } catch (error) {
      removeDirectories(made)
      closeSync(fd)
      throw directoryUnusable(error, path)
    }
  }

  /**
   * Creates the image `name`, and returns its descriptor, open for reading and writing and with mode 0600.
   * It is closed by publish and discard. Throws `WRITE_FAILED`.
   */
  createFile(name: string): number {
    this.#expect('staging')
    if (!/^[A-Za-z0-9][A-Za-z0-9._-]*$/.test(name)) throw internal(`${name} is no name for an image`)
    try {
      const fd = openSync(join(this.path, PARTIAL_NAME, name), CREATE, FILE_MODE)
      this.#staged.set(name, { fd, bytes: undefined })
      fchmodSync(fd, FILE_MODE)
      return fd
    } catch (error) {
      throw writeFailed(error, join(this.path, name), 'create')
    }
  }

  /** Creates the image `name` from `buffers`, and returns its size in bytes. Throws `WRITE_FAILED`. */
  writeFile(name: string, buffers: readonly Uint8Array[]): number {
    const fd = this.createFile(name)
    let bytes = 0
    try {
      for (const buffer of buffers) {
        for (let done = 0; done < buffer.length;) done += writeSync(fd, buffer, done)
        bytes += buffer.length
      }
    } catch (error) {
      throw writeFailed(error, join(this.path, name))
    }
    this.#staged.set(name, { fd, bytes })
    return bytes
  }

  /** Makes the link to the parent images; `target` is relative to this directory. Throws `WRITE_FAILED`. */
  linkParent(target: string): void {
    this.#expect('staging')
    try {
      symlinkSync(target, join(this.path, PARTIAL_NAME, PARENT_LINK))
      this.#hasParent = true
    } catch (error) {
      throw writeFailed(error, join(this.path, PARENT_LINK), 'symlink')
    }
  }

  /**
   * Makes the snapshot exist. Once it has returned, {@link discard} does nothing; if it throws, discard must follow.
   *
   * Throws `WRITE_FAILED` if a size is not the expected one or the file system fails, `IMAGES_DIR_IN_USE` if
   * somebody has put a file of the same name there, `INTERRUPTED` if it is discarded while it waits for the device, and
   * what `proceed` throws.
   */
  async publish(options: PublishOptions): Promise<void> {
    if (this.#state === 'published') return
    this.#expect('staging')
    this.#checkSizes(options.files)
    this.#state = 'publishing'
    const { proceed = () => undefined } = options
    if (options.sync) await this.#syncStaged(proceed)
    proceed()
    for (const name of this.#staged.keys()) this.#refuseExisting(name)
    if (this.#hasParent) this.#refuseExisting(PARENT_LINK)
    for (const { name } of options.files) this.#moveIntoPlace(name)
    if (this.#hasParent) this.#moveIntoPlace(PARENT_LINK)
    // The marker must not reach the device before what it vouches for.
    if (options.sync) syncDirectory(this.path)
    this.#moveIntoPlace(MANIFEST_NAME)
    try {
      rmdirSync(join(this.path, PARTIAL_NAME))
    } catch {
      // Somebody put a file into it; the snapshot is whole, and the next run removes the folder.
    }
    if (options.sync) syncDirectory(this.path)
    this.#state = 'published'
    this.#close()
  }

  /**
   * Removes everything that was made, the directory included if it was not there before, and returns the paths
   * that could not be removed. Does nothing after publish or a first discard. Never throws.
   */
  discard(): string[] {
    if (this.#state === 'published' || this.#state === 'discarded') return []
    this.#state = 'discarded'
    const left: string[] = []
    // The marker, renamed last, goes first: without it nobody takes the rest for a snapshot.
    const paths = this.#renamed.toReversed().map((name) => join(this.path, name))
    for (const path of [...paths, join(this.path, PARTIAL_NAME)]) {
      try {
        rmSync(path, { recursive: true, force: true })
      } catch {
        left.push(path)
      }
    }
    removeDirectories(this.#made)
    this.#close()
    return left
  }

  #checkSizes(files: readonly ImageFile[]): void {
    const marker = this.#staged.get(MANIFEST_NAME)
    if (marker?.bytes === undefined) throw internal(`${MANIFEST_NAME} was not written`)
    if (files.length !== this.#staged.size - 1)
      throw internal('the files to publish are not those that were created')
    for (const { name, bytes } of [...files, { name: MANIFEST_NAME, bytes: marker.bytes }]) {
      const file = this.#staged.get(name)
      if (file === undefined) throw internal(`${name} was not created`)
      const { size } = fstatSync(file.fd)
      if (size === bytes && (file.bytes ?? bytes) === bytes) continue
      const path = join(this.path, name)
      const message = `${path} has ${size} bytes instead of the ${bytes} that were to be written`
      throw new TidemarkError('WRITE_FAILED', message, { path })
    }
  }

  /** Off the main thread: syncing gigabytes takes seconds, in which a signal may ask for a discard. */
  async #syncStaged(proceed: () => void): Promise<void> {
    const syncFile = promisify(fsync)
    for (const [name, { fd }] of this.#staged) {
      try {
        await syncFile(fd)
      } catch (error) {
        this.#expectNotDiscarded()
        throw writeFailed(error, join(this.path, name), 'fsync')
      }
      this.#expectNotDiscarded()
      proceed()
    }
    syncDirectory(join(this.path, PARTIAL_NAME))
  }

  #refuseExisting(name: string): void {
    const path = join(this.path, name)
    if (statOf(path) === undefined) return
    const message = `${path} was made by somebody else during the dump: let only one write there`
    throw new TidemarkError('IMAGES_DIR_IN_USE', message, { path })
  }

  #moveIntoPlace(name: string): void {
    try {
      renameSync(join(this.path, PARTIAL_NAME, name), join(this.path, name))
      this.#renamed.push(name)
    } catch (error) {
      throw writeFailed(error, join(this.path, name), 'rename')
    }
  }

  #expect(state: string): void {
    if (this.#state !== state)
      throw internal(`the images directory ${this.path} is ${this.#state}, not ${state}`)
  }

  #expectNotDiscarded(): void {
    if (this.#state !== 'discarded') return
    throw new TidemarkError('INTERRUPTED', `${this.path} was discarded before it was published`, {
      path: this.path,
    })
  }

  #close(): void {
    for (const { fd } of this.#staged.values()) closeSync(fd)
    closeSync(this.fd)
  }
}

function internal(message: string): TidemarkError {
  return new TidemarkError('INTERNAL', message)
}
