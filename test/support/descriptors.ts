/** The descriptors of another process that are of one kind. */
import { readdirSync, readlinkSync } from 'node:fs'

/** Numbers of the userfaultfds of `pid`. */
export function userfaultfdsOf(pid: number): readonly number[] {
  return readdirSync(`/proc/${pid}/fd`)
    .filter((fd) => linkOf(pid, fd) === 'anon_inode:[userfaultfd]')
    .map(Number)
}

function linkOf(pid: number, fd: string): string {
  try {
    return readlinkSync(`/proc/${pid}/fd/${fd}`)
  } catch {
    return ''
  }
}
