/**
 * The pages file before and after it is written: space for it is taken before the freeze, where that is cheap.
 *
 *   ext4, xfs    extents for all that the survey found: next to nothing, and writing costs a third less
 *   tmpfs        taking a page costs as much as writing to it: only for what is written while the target stands
 *   others       nothing: some would lose compression or checksums by it
 */
import { fstatSync, ftruncateSync, statfsSync } from 'node:fs'
import { planPages } from '../core/plan.js'
import { writeFailed } from '../image/fs-error.js'
import type { ImagesDirectory } from '../image/images-dir.js'
import { fallocate } from '../kernel/libc.js'
import { pageSize } from '../kernel/page-size.js'
import { PAGES_NAME } from './images.js'
import { checkSpace } from './prepare.js'
import type { Survey } from './survey.js'

// source: include/uapi/linux/magic.h
const EXT4_MAGIC = 0xef53
const XFS_MAGIC = 0x58465342
const TMPFS_MAGIC = 0x01021994

/** The size of the file stays what was written. source: include/uapi/linux/falloc.h */
const FALLOC_FL_KEEP_SIZE = 1

/**
 * Creates the pages file and returns its descriptor. Throws `WRITE_FAILED` where the file system has not room for
 * what the survey found.
 *
 * @param maxMemory - bytes that are staged, and written after the thaw
 */
export function createPagesFile(images: ImagesDirectory, survey: Survey, maxMemory: number): number {
  checkSpace(images, survey)
  const fd = images.createFile(PAGES_NAME)
  const end = planPages(survey.plan) * pageSize()
  const start = reserveFrom(statfsSync(images.path).type, maxMemory, end)
  // Where it fails, each write takes its own space, or fails.
  if (start < end) fallocate(fd, FALLOC_FL_KEEP_SIZE, start, end - start)
  return fd
}

/** Offset of the first byte for which space is taken. */
function reserveFrom(fileSystem: number, maxMemory: number, end: number): number {
  if (fileSystem === EXT4_MAGIC || fileSystem === XFS_MAGIC) return 0
  return fileSystem === TMPFS_MAGIC ? Math.min(maxMemory, end) : end
}

/** Gives back the space that was taken beyond the file's end, which stays where it is. Throws `WRITE_FAILED`. */
export function trimPagesFile(fd: number): void {
  try {
    ftruncateSync(fd, fstatSync(fd).size)
  } catch (error) {
    throw writeFailed(error, PAGES_NAME, 'ftruncate')
  }
}
