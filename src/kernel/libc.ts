/**
 * The C library's functions that Tidemark calls, bound by koffi: the only file that knows koffi.
 *
 * Everything is declared non-variadic with exact C types: an `int` declared `long` turns errors into
 * 4294967295. Addresses in the target are plain numbers (below 2^47). Where a kernel argument is a pointer
 * into our own memory, the binding takes either a typed array (koffi hands over its real address) or a
 * number. `errno` must be read at once after a call that failed.
 */
import koffi from 'koffi'
import { TidemarkError, type ErrorCode, type ErrorDetails } from '../errors.js'

/** Memory of ours that the kernel reads or fills. */
export type Memory = NodeJS.ArrayBufferView

const libc = koffi.load(null)

/** A bound function: returns what the C function returns, -1 for an error, with errno set. */
type Call<A extends unknown[]> = (...args: A) => number

// koffi's own type is `(...args: any[]) => any`: here a binding gets its real one.
function bind<A extends unknown[]>(name: string, result: string, parameters: string[]): Call<A> {
  return libc.func(name, result, parameters)
}

/** ptrace(2). All calls on one tracee come from one thread. */
export const ptrace = bind<[request: number, tid: number, address: number, data: number]>('ptrace', 'long', [
  'int',
  'int',
  'intptr_t',
  'intptr_t',
])
/** waitid(2). */
export const waitid = bind<[type: number, id: number, info: Memory, options: number]>('waitid', 'int', [
  'int',
  'uint',
  'void *',
  'int',
])
/** waitpid(2); `status` takes an int. */
export const waitpid = bind<[pid: number, status: Memory, options: number]>('waitpid', 'int', [
  'int',
  'void *',
  'int',
])
/** process_vm_readv(2): bytes read; less than asked for where a page of `remote` cannot be read. */
export const processVmReadv = bind<
  [pid: number, local: Memory, localCount: number, remote: Memory, remoteCount: number, flags: number]
>('process_vm_readv', 'long', ['int', 'void *', 'ulong', 'void *', 'ulong', 'ulong'])
/** pread64 into memory of ours given by its address. */
export const preadAt = bind<[fd: number, address: number, length: number, offset: number]>(
  'pread64',
  'long',
  ['int', 'uintptr_t', 'ulong', 'int64_t'],
)
/** pread64 into a buffer. */
export const pread = bind<[fd: number, buffer: Memory, length: number, offset: number]>('pread64', 'long', [
  'int',
  'void *',
  'ulong',
  'int64_t',
])
/** pwrite64 from a buffer. */
export const pwrite = bind<[fd: number, buffer: Memory, length: number, offset: number]>('pwrite64', 'long', [
  'int',
  'void *',
  'ulong',
  'int64_t',
])
/** pwrite64 from memory of ours given by its address. */
export const pwriteAt = bind<[fd: number, address: number, length: number, offset: number]>(
  'pwrite64',
  'long',
  ['int', 'uintptr_t', 'ulong', 'int64_t'],
)
/** ioctl(2) with a pointer as its argument. */
export const ioctl = bind<[fd: number, request: number, argument: Memory]>('ioctl', 'int', [
  'int',
  'ulong',
  'void *',
])
/** mmap(2); the address. */
export const mmap = bind<
  [address: number, length: number, prot: number, flags: number, fd: number, offset: number]
>('mmap', 'intptr_t', ['uintptr_t', 'ulong', 'int', 'int', 'int', 'int64_t'])
/** munmap(2). */
export const munmap = bind<[address: number, length: number]>('munmap', 'int', ['uintptr_t', 'ulong'])
/** madvise(2). */
export const madvise = bind<[address: number, length: number, advice: number]>('madvise', 'int', [
  'uintptr_t',
  'ulong',
  'int',
])
/** memset(3); the address. */
export const memset = bind<[address: number, byte: number, length: number]>('memset', 'uintptr_t', [
  'uintptr_t',
  'int',
  'ulong',
])
/** memcmp(3): 0 where both are the same. */
export const memcmp = bind<[a: number, b: number, length: number]>('memcmp', 'int', [
  'uintptr_t',
  'uintptr_t',
  'ulong',
])
/** fallocate(2). */
export const fallocate = bind<[fd: number, mode: number, offset: number, length: number]>(
  'fallocate64',
  'int',
  ['int', 'int', 'int64_t', 'int64_t'],
)
/** flock(2). */
export const flock = bind<[fd: number, operation: number]>('flock', 'int', ['int', 'int'])
/** sysconf(3). */
export const sysconf = bind<[name: number]>('sysconf', 'long', ['int'])
/** syscall(2) with up to five integer arguments. */
export const syscall = bind<[number: number, a: number, b: number, c: number, d: number, e: number]>(
  'syscall',
  'long',
  ['long', 'long', 'long', 'long', 'long', 'long'],
)

const ERRNO_NAMES = new Map<number, string>()
for (const [name, value] of Object.entries(koffi.os.errno)) {
  if (typeof value === 'number' && !ERRNO_NAMES.has(value)) ERRNO_NAMES.set(value, name)
}

/** errno of this thread's last call, as a number. */
export function errno(): number {
  return koffi.errno()
}

/** errno of this thread's last call, by name, e.g. `ESRCH`. */
export function errnoName(): string {
  return errnoNameOf(koffi.errno())
}

/** The name of an errno value, e.g. `ESRCH` for 3. */
export function errnoNameOf(value: number): string {
  return ERRNO_NAMES.get(value) ?? `errno ${String(value)}`
}

/** The error of the call that just failed on this thread; `what` says what was tried, on what. */
export function syscallError(
  syscallName: string,
  what: string,
  details: ErrorDetails = {},
  code: ErrorCode = 'SYSCALL_FAILED',
): TidemarkError {
  const name = errnoName()
  return new TidemarkError(code, `${what}: ${syscallName} failed with ${name}`, {
    ...details,
    syscall: syscallName,
    errno: name,
  })
}

/** The address of `memory` in this process. Stable: array buffers do not move. */
export function addressOf(memory: Memory): number {
  return Number(koffi.address(memory))
}

/** errno values that callers compare with {@link errno}. */
export const ESRCH = koffi.os.errno.ESRCH
/** See ESRCH. */
export const EPERM = koffi.os.errno.EPERM
/** See ESRCH. */
export const EFAULT = koffi.os.errno.EFAULT
/** See ESRCH. */
export const EINTR = koffi.os.errno.EINTR
/** See ESRCH. */
export const ECHILD = koffi.os.errno.ECHILD
