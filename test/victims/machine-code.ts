/**
 * Small pieces of x86-64 machine code for threads and processes that must run without the JS engine.
 *
 * A thread of libc's `pause` would end at the first signal that a handler takes, and a process made by clone
 * with CLONE_VM must not touch the thread-local data it shares with its maker. These pieces use system calls
 * and registers only. Each is position-independent and gets its argument in rdi, as a C function does.
 */
import { PAGE_SIZE } from './content.js'
import { copyIn } from './libc.js'
import { mapPages, PROT, protectPages } from './memory.js'

const SYSCALL = [0x0f, 0x05] as const

/** `mov eax, number`. */
function intoEax(number: number): number[] {
  return [0xb8, ...bytesOf32(number)]
}

function bytesOf32(number: number): number[] {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32LE(number)
  return [...bytes]
}

function bytesOf64(address: number): number[] {
  const bytes = Buffer.alloc(8)
  bytes.writeBigUInt64LE(BigInt(address))
  return [...bytes]
}

/** `for (;;) pause()`: 34 is SYS_pause; the jump goes 9 bytes back, to the first. */
const PAUSE_FOREVER = [...intoEax(34), ...SYSCALL, 0xeb, 0xf7] as const

/** `prctl(PR_SET_PDEATHSIG, SIGKILL)`: mov edi, 1; mov esi, 9; SYS_prctl is 157. */
const DIE_WITH_PARENT = [0xbf, ...bytesOf32(1), 0xbe, ...bytesOf32(9), ...intoEax(157), ...SYSCALL] as const

/** Pauses until killed. */
export const pauseForever: readonly number[] = PAUSE_FOREVER

/** Asks to be killed when the thread that made it ends, and pauses until then. */
export const pauseUntilOrphaned: readonly number[] = [...DIE_WITH_PARENT, ...PAUSE_FOREVER]

/** Adds one to the 64-bit number at rdi, for ever: `lock inc qword [rdi]; jmp back`. */
export const countForever: readonly number[] = [0xf0, 0x48, 0xff, 0x07, 0xeb, 0xfa]

/** A signal handler that adds one to the 64-bit number at `counter`: mov r11, counter; lock inc qword [r11]; ret. */
export function countingHandler(counter: number): readonly number[] {
  return [0x49, 0xbb, ...bytesOf64(counter), 0xf0, 0x49, 0xff, 0x03, 0xc3]
}

/** A signal trampoline: mov eax, SYS_rt_sigreturn (15); syscall. */
export const signalReturn: readonly number[] = [...intoEax(15), ...SYSCALL]

/**
 * Makes a child that shares the memory, waits in the kernel until it ends (as vfork does), then pauses.
 *
 *   clone(CLONE_VM | CLONE_VFORK | CLONE_PARENT_SETTID | SIGCHLD, 0, rdi)   the kernel writes the child's pid to [rdi]
 *   child:  die with the parent, pause        parent, once the child is dead:  pause
 *
 * Both use one stack; neither writes to it.
 */
export const vforkAndPause: readonly number[] = [
  ...[0x48, 0x89, 0xfa], // mov rdx, rdi
  ...[0xbf, ...bytesOf32(0x104111)], // mov edi, flags
  ...[0x31, 0xf6], // xor esi, esi
  ...intoEax(56), // SYS_clone
  ...SYSCALL,
  ...[0x85, 0xc0, 0x75, DIE_WITH_PARENT.length], // test eax, eax; jnz over the child's prctl
  ...DIE_WITH_PARENT,
  ...PAUSE_FOREVER,
]

/** Puts `code` into a page of its own, readable and executable, and returns its address. */
export function loadCode(code: readonly number[]): number {
  const address = mapPages(1)
  copyIn(address, Uint8Array.from(code), Math.min(code.length, PAGE_SIZE))
  protectPages(address, 1, PROT.READ_EXEC)
  return address
}
