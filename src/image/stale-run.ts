/**
 * What a killed run left in an images directory, and whether the directory is free.
 *
 *   DIR/.tidemark-partial/   files being written, under their final names; tidemark.json the last to leave
 *   DIR/                     files of a published snapshot, or of one that was killed while it was published
 *
 * A run is killed in one of three states. Before publishing: all is in the folder. While publishing: the folder
 * still has tidemark.json, which names the files that may have left it. After: the folder is empty.
 */
import { lstatSync, readdirSync, readFileSync, readlinkSync, rmSync, unlinkSync, type Stats } from 'node:fs'
import { join } from 'node:path'

import { codeOf, TidemarkError } from '../errors.js'
import { directoryUnusable, writeFailed } from './fs-error.js'
import { decodeManifest, MANIFEST_NAME, PARENT_LINK, type ImageFile, type Manifest } from './manifest.js'

/** The folder in an images directory in which files are staged. */
export const PARTIAL_NAME = '.tidemark-partial'

/**
 * Removes what a killed run left in `folder`; a published snapshot stays. The caller holds the lock, so that
 * nobody is at work there.
 *
 * Throws `IMAGES_DIR_UNUSABLE` where the name of the staging folder is something else's, `WRITE_FAILED` where
 * removing fails.
 */
export function removeStaleRun(folder: string): void {
  const partial = join(folder, PARTIAL_NAME)
  const stats = statOf(partial)
  if (stats === undefined) return
  if (!stats.isDirectory()) {
    const message = `${partial} is not the folder in which Tidemark stages files: remove it, or choose another directory`
    throw new TidemarkError('IMAGES_DIR_UNUSABLE', message, { path: partial })
  }
  try {
    const marker = readStaleMarker(partial)
    for (const file of marker?.files ?? []) removeIfPublished(folder, partial, file)
    if (marker?.parent !== undefined) removeParentLink(folder, partial, marker.parent.link)
    // Last, with the marker in it: a run killed in here is taken up again by the next.
    rmSync(partial, { recursive: true })
  } catch (error) {
    throw writeFailed(error, partial, 'rm')
  }
}

/** Throws `IMAGES_DIR_IN_USE` if `folder` holds a snapshot or images of any kind; other files don't matter. */
export function refuseOccupied(folder: string): void {
  const found = list(folder).find(
    (name) => [MANIFEST_NAME, PARENT_LINK, 'stats-dump'].includes(name) || name.endsWith('.img'),
  )
  if (found === undefined) return
  const what = found === MANIFEST_NAME ? 'a snapshot' : 'images'
  const message = `${folder} holds ${what} already (${found}): choose a new directory, or remove the old one`
  throw new TidemarkError('IMAGES_DIR_IN_USE', message, { path: folder })
}

/** The `lstat` of `path`, or undefined where nothing has that name. */
export function statOf(path: string): Stats | undefined {
  return lstatSync(path, { throwIfNoEntry: false })
}

function list(folder: string): string[] {
  try {
    return readdirSync(folder)
  } catch (error) {
    throw directoryUnusable(error, folder)
  }
}

/** The marker in `partial`; undefined if there is none, or half a one: then nothing was published. */
function readStaleMarker(partial: string): Manifest | undefined {
  const marker = join(partial, MANIFEST_NAME)
  try {
    return decodeManifest(readFileSync(marker), marker)
  } catch (error) {
    const code = codeOf(error)
    if (code === 'ENOENT' || code === 'BAD_IMAGE') return undefined
    throw error
  }
}

/** Removes `file` from `folder` if the killed run moved it there: it has left `partial`, and its size is the marker's. */
function removeIfPublished(folder: string, partial: string, file: ImageFile): void {
  if (statOf(join(partial, file.name)) !== undefined) return
  const path = join(folder, file.name)
  const stats = statOf(path)
  if (stats?.isFile() === true && stats.size === file.bytes) unlinkSync(path)
}

/** Removes the parent link from `folder` if the killed run moved it there. */
function removeParentLink(folder: string, partial: string, target: string): void {
  if (statOf(join(partial, PARENT_LINK)) !== undefined) return
  const path = join(folder, PARENT_LINK)
  if (statOf(path)?.isSymbolicLink() === true && readlinkSync(path) === target) unlinkSync(path)
}
