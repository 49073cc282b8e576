/** The system's page size: asked once, never assumed. */
import { sysconf } from './libc.js'

// source: bits/confname.h; the same number in glibc and musl
const SC_PAGESIZE = 30

let known = 0

/** Bytes of a page on this system. */
export function pageSize(): number {
  if (known === 0) known = sysconf(SC_PAGESIZE)
  return known
}
