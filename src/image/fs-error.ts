/** File system failures of this layer as Tidemark's errors, with what to do about them. */
import { codeOf, isTidemarkError, messageOf, TidemarkError } from '../errors.js'

const WRITE_REMEDY: ReadonlyMap<string, string> = new Map([
  ['ENOSPC', 'the file system is full: free space, or choose an images directory elsewhere'],
  ['EDQUOT', 'the disk quota is used up: free space, or choose an images directory elsewhere'],
  ['EFBIG', 'the file system or the limit on file sizes (ulimit -f) does not allow files so large'],
  ['EIO', 'the device failed: look into the kernel log, and choose an images directory elsewhere'],
  ['EROFS', 'the file system is read-only, or became so after an error: look into the kernel log'],
  ['EMFILE', 'too many files are open: raise the limit (ulimit -n)'],
  ['ENFILE', 'too many files are open in the whole system'],
  ['ENOENT', 'someone removed the images directory, or files in it, during the dump'],
])

const OPEN_REMEDY: ReadonlyMap<string, string> = new Map([
  ['EACCES', 'you may not write there: choose another directory, or run as its owner'],
  ['EPERM', 'you may not write there: choose another directory, or run as its owner'],
  ['EROFS', 'the file system is read-only: choose a directory elsewhere'],
  ['ENOTDIR', 'a part of the path is not a directory'],
  ['EEXIST', 'something that is not a directory, or a dangling link, has that name'],
  ['ENOENT', 'a part of the path does not exist and cannot be made'],
  ['ELOOP', 'the path goes through too many links'],
  ['ENAMETOOLONG', 'the path is too long'],
])

/**
 * A `WRITE_FAILED` error for `error`, which a write, fsync or rename of `path` gave; one of ours stays as it is. An error that is ours
 * already comes back as it is.
 *
 * @param syscall - used where `error` does not say one
 */
export function writeFailed(error: unknown, path: string, syscall = 'write'): TidemarkError {
  return fileError('WRITE_FAILED', `can't ${syscall} ${path}`, error, path, syscall, WRITE_REMEDY)
}

/** An `IMAGES_DIR_UNUSABLE` error for `error`, which making or opening the directory `path` gave; one of ours stays as it is. */
export function directoryUnusable(error: unknown, path: string): TidemarkError {
  return fileError(
    'IMAGES_DIR_UNUSABLE',
    `can't use ${path} as images directory`,
    error,
    path,
    'open',
    OPEN_REMEDY,
  )
}

function fileError(
  code: 'WRITE_FAILED' | 'IMAGES_DIR_UNUSABLE',
  what: string,
  error: unknown,
  path: string,
  syscall: string,
  remedies: ReadonlyMap<string, string>,
): TidemarkError {
  if (isTidemarkError(error)) return error
  const errno = codeOf(error)
  const remedy = errno === undefined ? undefined : (remedies.get(errno) ?? WRITE_REMEDY.get(errno))
  const message = `${what}: ${errno ?? messageOf(error)}${remedy === undefined ? '' : ` (${remedy})`}`
  return new TidemarkError(code, message, { path, syscall, ...(errno === undefined ? {} : { errno }) }, error)
}
