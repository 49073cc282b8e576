/** Making, opening, locking and syncing directories, and removing those that were made. */
import {
  chmodSync,
  closeSync,
  constants,
  fstatSync,
  fsyncSync,
  mkdirSync,
  openSync,
  realpathSync,
  rmdirSync,
  statSync,
} from 'node:fs'
import { dirname, resolve } from 'node:path'

import { codeOf, TidemarkError } from '../errors.js'
import { directoryUnusable, writeFailed } from './fs-error.js'

/** Memory holds secrets: nobody else may look, whatever the umask. */
export const DIRECTORY_MODE = 0o700

/**
 * Makes the directory `path` and its parents with mode 0700, and returns those that it made, outermost first.
 * What exists keeps its mode.
 *
 * Throws `IMAGES_DIR_UNUSABLE`, with nothing left behind.
 */
export function makeDirectories(path: string): string[] {
  const made: string[] = []
  try {
    makeInto(resolve(path), made)
    return made
  } catch (error) {
    removeDirectories(made)
    throw directoryUnusable(error, path)
  }
}

/** Removes those of `made` (outermost first) that are empty, innermost first; who put files there keeps them. */
export function removeDirectories(made: readonly string[]): void {
  for (const path of made.toReversed()) {
    try {
      rmdirSync(path)
    } catch {
      return
    }
  }
}

/**
 * The directory `path`, open and locked, and its path without links.
 *
 * Throws `IMAGES_DIR_IN_USE` if `lock` says no, or if the directory is no longer the one of that name: its last
 * holder may have removed it. Throws `IMAGES_DIR_UNUSABLE` if it can't be opened.
 */
export function openLocked(path: string, lock: (fd: number) => boolean): { folder: string; fd: number } {
  let fd: number | undefined
  try {
    const folder = realpathSync(path)
    fd = openSync(folder, constants.O_RDONLY | constants.O_DIRECTORY)
    const named = lock(fd) ? statSync(folder, { throwIfNoEntry: false }) : undefined
    const opened = fstatSync(fd)
    if (named?.ino === opened.ino && named.dev === opened.dev) return { folder, fd }
    const message = `another run of Tidemark writes to ${folder}: wait until it has ended, or choose another directory`
    throw new TidemarkError('IMAGES_DIR_IN_USE', message, { path: folder })
  } catch (error) {
    if (fd !== undefined) closeSync(fd)
    throw directoryUnusable(error, path)
  }
}

/** Waits until the names in the directory `path` are on the device. Throws `WRITE_FAILED`. */
export function syncDirectory(path: string): void {
  let fd: number | undefined
  try {
    fd = openSync(path, constants.O_RDONLY | constants.O_DIRECTORY)
    fsyncSync(fd)
  } catch (error) {
    throw writeFailed(error, path, 'fsync')
  } finally {
    if (fd !== undefined) closeSync(fd)
  }
}

function makeInto(path: string, made: string[]): void {
  if (statSync(path, { throwIfNoEntry: false })?.isDirectory() === true) return
  const parent = dirname(path)
  if (parent !== path) makeInto(parent, made)
  try {
    mkdirSync(path, DIRECTORY_MODE)
  } catch (error) {
    // Somebody else was quicker.
    if (codeOf(error) === 'EEXIST' && statSync(path, { throwIfNoEntry: false })?.isDirectory() === true)
      return
    throw error
  }
  made.push(path)
  chmodSync(path, DIRECTORY_MODE)
}
