/**
 * The C library as the victims call it: each function with its exact C types, addresses as plain numbers.
 *
 * User addresses end at 2^47, so a JS number holds them exactly; only the failure value of mmap (2^64 - 1)
 * comes back as a BigInt. Functions that are variadic in C are declared with fixed arguments: that is the
 * same call on x86-64 as long as no argument is a float.
 */
import { getSystemErrorName } from 'node:util'
import koffi from 'koffi'

const library = koffi.load(null)

type Integer = number | bigint

const mmapCall: (
  address: number,
  length: number,
  protection: number,
  flags: number,
  fd: number,
  offset: number,
) => Integer = library.func('mmap', 'uintptr_t', ['uintptr_t', 'size_t', 'int', 'int', 'int', 'int64_t'])
const munmapCall: (address: number, length: number) => number = library.func('munmap', 'int', [
  'uintptr_t',
  'size_t',
])
const mprotectCall: (address: number, length: number, protection: number) => number = library.func(
  'mprotect',
  'int',
  ['uintptr_t', 'size_t', 'int'],
)
const madviseCall: (address: number, length: number, advice: number) => number = library.func(
  'madvise',
  'int',
  ['uintptr_t', 'size_t', 'int'],
)
const mremapCall: (
  address: number,
  oldLength: number,
  newLength: number,
  flags: number,
  target: number,
) => Integer = library.func('mremap', 'uintptr_t', ['uintptr_t', 'size_t', 'size_t', 'int', 'uintptr_t'])
const syscallCall: (
  number: number,
  a: Integer,
  b: Integer,
  c: Integer,
  d: Integer,
  e: Integer,
  f: Integer,
) => Integer = library.func('syscall', 'long', ['long', 'long', 'long', 'long', 'long', 'long', 'long'])

/** Copies `byteLength` bytes of `source` to `address`. */
export const copyIn: (address: number, source: Uint8Array, byteLength: number) => void = library.func(
  'memcpy',
  'void',
  ['uintptr_t', 'const void *', 'size_t'],
)

/** Copies `byteLength` bytes at `address` to `target`. */
export const copyOut: (target: Uint8Array, address: number, byteLength: number) => void = library.func(
  'memcpy',
  'void',
  ['void *', 'uintptr_t', 'size_t'],
)

/** Failure of a C library call: its name, and errno as a name such as `ENOMEM`. */
export class CallError extends Error {
  override readonly name = 'CallError'
  readonly errno: string

  constructor(call: string, errno: number) {
    const name = getSystemErrorName(-errno)
    super(`${call}: ${name}`)
    this.errno = name
  }
}

/** `result` as a number; throws {@link CallError} where it is the failure value -1 (or 2^64 - 1). */
export function checked(call: string, result: Integer): number {
  const number = Number(result)
  if (number === -1 || number >= 2 ** 63) throw new CallError(call, koffi.errno())
  return number
}

/** mmap(2). Returns the address. */
export function mmap(
  address: number,
  length: number,
  protection: number,
  flags: number,
  fd: number,
  offset: number,
): number {
  return checked('mmap', mmapCall(address, length, protection, flags, fd, offset))
}

/** munmap(2). */
export function munmap(address: number, length: number): void {
  checked('munmap', munmapCall(address, length))
}

/** mprotect(2). */
export function mprotect(address: number, length: number, protection: number): void {
  checked('mprotect', mprotectCall(address, length, protection))
}

/** madvise(2). */
export function madvise(address: number, length: number, advice: number): void {
  checked(`madvise ${advice}`, madviseCall(address, length, advice))
}

/** mremap(2). Returns the new address. */
export function mremap(
  address: number,
  oldLength: number,
  newLength: number,
  flags: number,
  target: number,
): number {
  return checked('mremap', mremapCall(address, oldLength, newLength, flags, target))
}

/** Any system call by number, with up to six integer arguments. */
export function systemCall(name: string, number: number, ...words: readonly Integer[]): number {
  const [a = 0, b = 0, c = 0, d = 0, e = 0, f = 0] = words
  return checked(name, syscallCall(number, a, b, c, d, e, f))
}

/** Address of the exported C function `name`. */
export function functionAddress(name: string): bigint {
  const address: unknown = library.symbol(name)
  if (typeof address !== 'bigint') throw new Error(`the C library has no function ${name}`)
  return address
}

/** The memory at `address` as an ArrayBuffer, without a copy. It must stay mapped while the buffer is in use. */
export function viewOf(address: number, byteLength: number): ArrayBuffer {
  return koffi.view(BigInt(address), byteLength)
}

/** Address of the first byte of `bytes`. It stays put as long as `bytes` is alive. */
export function addressOf(bytes: Uint8Array): number {
  return Number(koffi.address(bytes))
}

/** A C function by name and types, for callers that need one of their own. */
export function declare(
  name: string,
  result: string,
  parameters: string[],
): (...words: Integer[]) => Integer {
  return library.func(name, result, parameters)
}
