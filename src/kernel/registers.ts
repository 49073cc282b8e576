/**
 * Registers, vector state and signal mask of one thread that stands in a ptrace stop.
 */
import { NT, PTRACE } from './abi.js'
import { addressOf, ptrace, syscallError } from './libc.js'

/** The general registers as the kernel lists them: one word for each of {@link REGISTER_NAMES}. */
export type Registers = BigUint64Array

/** In the order of the kernel. A 32-bit thread has another, shorter set. source: arch/x86/include/asm/user_64.h */
export const REGISTER_NAMES = [
  ...([
    'r15',
    'r14',
    'r13',
    'r12',
    'rbp',
    'rbx',
    'r11',
    'r10',
    'r9',
    'r8',
    'rax',
    'rcx',
    'rdx',
    'rsi',
    'rdi',
  ] as const),
  ...(['origRax', 'rip', 'cs', 'eflags', 'rsp', 'ss', 'fsBase', 'gsBase', 'ds', 'es', 'fs', 'gs'] as const),
] as const

/** A register's name. */
export type RegisterName = (typeof REGISTER_NAMES)[number]

/** Above the 11,008 bytes that AVX-512 and AMX need together; the kernel copies what fits. */
const MAX_XSTATE_BYTES = 32768

const iovec = new BigUint64Array(2)
const word = new BigUint64Array(1)

/** The 64 bits of a register. */
export function registerWord(registers: Registers, name: RegisterName): bigint {
  return registers[REGISTER_NAMES.indexOf(name)] ?? 0n
}

/** The register as the signed number that the kernel keeps in it: an error of a system call is negative. */
export function signedRegister(registers: Registers, name: RegisterName): number {
  return Number(BigInt.asIntN(64, registerWord(registers, name)))
}

/** The register as an address: below 2^47 in a program. */
export function addressRegister(registers: Registers, name: RegisterName): number {
  return Number(registerWord(registers, name))
}

/** `registers` with some of them changed; the values wrap at 64 bits. */
export function withRegisters(
  registers: Registers,
  changes: Readonly<Partial<Record<RegisterName, number | bigint>>>,
): Registers {
  const changed = registers.slice()
  for (const [index, name] of REGISTER_NAMES.entries()) {
    const value = changes[name]
    if (value !== undefined) changed[index] = BigInt(value)
  }
  return changed
}

/** The general registers of `tid`, or undefined where it is no 64-bit thread. */
export function readRegisters(tid: number): Registers | undefined {
  const registers = new BigUint64Array(REGISTER_NAMES.length)
  iovec[0] = BigInt(addressOf(registers))
  iovec[1] = BigInt(registers.byteLength)
  request('PTRACE_GETREGSET', tid, NT.PRSTATUS, addressOf(iovec))
  return Number(iovec[1]) === registers.byteLength ? registers : undefined
}

/** Sets all general registers of `tid`. */
export function writeRegisters(tid: number, registers: Registers): void {
  iovec[0] = BigInt(addressOf(registers))
  iovec[1] = BigInt(registers.byteLength)
  request('PTRACE_SETREGSET', tid, NT.PRSTATUS, addressOf(iovec))
}

/** The x87, SSE, AVX and later state of `tid`, in the processor's standard XSAVE format. */
export function readXstate(tid: number): Buffer {
  const bytes = Buffer.alloc(MAX_XSTATE_BYTES)
  iovec[0] = BigInt(addressOf(bytes))
  iovec[1] = BigInt(bytes.length)
  request('PTRACE_GETREGSET', tid, NT.X86_XSTATE, addressOf(iovec))
  return bytes.subarray(0, Number(iovec[1]))
}

/** The signals that `tid` blocks, a bit for each. Of a thread in ppoll and the like: those from before the call. */
export function readSignalMask(tid: number): bigint {
  request('PTRACE_GETSIGMASK', tid, word.byteLength, addressOf(word))
  return word[0] ?? 0n
}

/** Sets the signals that `tid` blocks; the kernel leaves out SIGKILL and SIGSTOP. */
export function writeSignalMask(tid: number, mask: bigint): void {
  word[0] = mask
  request('PTRACE_SETSIGMASK', tid, word.byteLength, addressOf(word))
}

/** What the stop that `tid` stands in tells: of a parent, the pid of the child that it has just made. */
export function readEventMessage(tid: number): number {
  request('PTRACE_GETEVENTMSG', tid, 0, addressOf(word))
  return Number(word[0] ?? 0n)
}

const REQUESTS = {
  PTRACE_GETEVENTMSG: PTRACE.GETEVENTMSG,
  PTRACE_GETREGSET: PTRACE.GETREGSET,
  PTRACE_SETREGSET: PTRACE.SETREGSET,
  PTRACE_GETSIGMASK: PTRACE.GETSIGMASK,
  PTRACE_SETSIGMASK: PTRACE.SETSIGMASK,
} as const

function request(name: keyof typeof REQUESTS, tid: number, address: number, data: number): void {
  if (ptrace(REQUESTS[name], tid, address, data) >= 0) return
  throw syscallError(`ptrace(${name})`, `cannot reach the registers of thread ${String(tid)}`, { tid })
}
