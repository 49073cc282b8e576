/**
 * What a killed run left in an images directory, and whether the directory is free.
 *
 *   DIR/.tidemark-partial/   files being written, under their final names; tidemark.json the last to leave
 *   DIR/                     files of a published snapshot, or of one that was killed while it was published
 *
 * A run is killed in one of three states. Before publishing: all is in the folder. While publishing: the folder
 * still has tidemark.json, which names the files that may have left it. After: the folder is empty.
 */
import { lstatSync, readdirSync, readFileSync, rmSync, unlinkSync, type Stats } from 'node:fs'
import { join } from 'node:path'

import { codeOf, TidemarkError } from '../errors.js'
import { directoryUnusable, writeFailed } from './fs-error.js'
import { decodeManifest, MANIFEST_NAME, type ImageFile } from './manifest.js'

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
    for (const file of namedByStaleMarker(partial)) removeIfPublished(folder, partial, file)
    // Last, with the marker in it: a run killed in here is taken up again by the next.
    rmSync(partial, { recursive: true })
  } catch (error) {
    throw writeFailed(error, partial, 'rm')
  }
}

/** Throws `IMAGES_DIR_IN_USE` if `folder` holds a snapshot or images of any kind; other files don't matter. */
export function refuseOccupied(folder: string): void {
  const found = list(folder).find(
    (name) => name === MANIFEST_NAME || name === 'stats-dump' || name.endsWith('.img'),
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

/** The files that a marker in `partial` names; none if there is no marker, or half a one: then nothing was published. */
function namedByStaleMarker(partial: string): readonly ImageFile[] {
  const marker = join(partial, MANIFEST_NAME)
  try {
    return decodeManifest(readFileSync(marker), marker).files
  } catch (error) {
    const code = codeOf(error)
    if (code === 'ENOENT' || code === 'BAD_IMAGE') return []
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
