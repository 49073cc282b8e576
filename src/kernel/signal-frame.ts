/**
 * The frame by which a thread puts itself back: what the kernel would have pushed for a signal handler.
 *
 * When a thread's stack pointer holds the frame's address and it calls rt_sigreturn, it gets all of its registers,
 * its vector state and its signal mask from there, and goes on where the frame says. Nobody has to be alive
 * for that but the thread.
 *
 *   address ─▶ struct ucontext, 304 bytes               flags, stack, registers, pointer to ▼, signal mask
 *   64-aligned ─▶ XSAVE area, 512 + 64 + ... bytes     in its bytes 464..511: sizes, features, first magic
 *                 second magic, 4 bytes
 *
 * source: arch/x86/include/uapi/asm/sigcontext.h, arch/x86/kernel/signal_64.c, arch/x86/kernel/fpu/signal.c
 */
import {
  registerWord,
  type RegisterName,
  type Registers,
  signedRegister,
  withRegisters,
} from './registers.js'

/** What a frame is made of. */
export interface FrameContent {
  readonly registers: Registers
  readonly signalMask: bigint
  /** As ptrace gives it. */
  readonly xstate: Buffer
}

/** Offsets in struct ucontext. source: arch/x86/include/uapi/asm/ucontext.h, sigcontext.h */
const UCONTEXT = {
  flags: 0,
  stackFlags: 24,
  registers: 40,
  segments: 184,
  fpstate: 224,
  mask: 296,
  bytes: 304,
}
/** UC_FP_XSTATE | UC_SIGCONTEXT_SS | UC_STRICT_RESTORE_SS. source: the same */
const UCONTEXT_FLAGS = 7
/**
 * No valid mode: the kernel then leaves the thread's alternate stack as it is, and says nothing.
 * source: kernel/signal.c do_sigaltstack, restore_altstack
 */
const NO_STACK_MODE = 0x7f
/** The order of struct sigcontext. source: arch/x86/include/uapi/asm/sigcontext.h */
const CONTEXT_ORDER: readonly RegisterName[] = [
  'r8',
  'r9',
  'r10',
  'r11',
  'r12',
  'r13',
  'r14',
  'r15',
  'rdi',
  'rsi',
  'rbp',
  'rbx',
  'rdx',
  'rax',
  'rcx',
  'rsp',
  'rip',
  'eflags',
]
const SEGMENT_ORDER: readonly RegisterName[] = ['cs', 'gs', 'fs', 'ss']

/** Bytes that software owns in an XSAVE area, struct _fpx_sw_bytes, and the features that ptrace writes there. */
const SOFTWARE = { start: 464, features: 472, end: 512 }
/** FP_XSTATE_MAGIC1 and FP_XSTATE_MAGIC2. source: arch/x86/include/uapi/asm/sigcontext.h */
const MAGIC1 = 0x46505853
const MAGIC2 = 0x46505845
/** XSTATE_BV: features that are not in their initial state. */
const IN_USE_OFFSET = 512
/** The tiles of AMX, which Intel alone has, and where the state before them ends (PKRU, else AVX-512). source: arch/x86/include/asm/fpu/types.h */
const AMX_FEATURES = 0x60000n
const PKRU_FEATURE = 0x200n
const BEFORE_AMX_BYTES = { withPkru: 2696, without: 2688 }

/** ERESTARTSYS, ERESTARTNOINTR, ERESTARTNOHAND and ERESTART_RESTARTBLOCK. source: include/linux/errno.h */
const RESTARTS = [-512, -513, -514, -516]
/** Length of the `syscall` instruction. */
const SYSCALL_BYTES = 2

/** Bytes of the frame for an XSAVE area of `xstateBytes`, at an address that is a multiple of 64. */
export function frameBytes(xstateBytes: number): number {
  return fpstateOffset() + xstateBytes + 4
}

/**
 * `registers` for a thread that goes on by rt_sigreturn: the kernel repeats an interrupted system call only on
 * the way out of that call, so the thread has to make it again.
 */
export function resumedRegisters(registers: Registers): Registers {
  const number = signedRegister(registers, 'origRax')
  if (number < 0 || !RESTARTS.includes(signedRegister(registers, 'rax'))) return registers
  return withRegisters(registers, {
    rax: number,
    rip: signedRegister(registers, 'rip') - SYSCALL_BYTES,
  })
}

/** Bytes of a frame by {@link buildBareFrame}. */
export const BARE_FRAME_BYTES = UCONTEXT.bytes

/** A frame without vector state, which rt_sigreturn then clears: for a thread that needs none any more. */
export function buildBareFrame(registers: Registers, signalMask: bigint): Buffer {
  const frame = Buffer.alloc(BARE_FRAME_BYTES)
  writeContext(frame, registers, signalMask)
  return frame
}

/** The frame for `address`, a multiple of 64, where it will lie. */
export function buildFrame(address: number, { registers, signalMask, xstate }: FrameContent): Buffer {
  const frame = Buffer.alloc(frameBytes(xstate.length))
  writeContext(frame, registers, signalMask)
  const fpstate = fpstateOffset()
  frame.writeBigUInt64LE(BigInt(address + fpstate), UCONTEXT.fpstate)
  xstate.copy(frame, fpstate)
  const software = fpstate + SOFTWARE.start
  frame.fill(0, software, fpstate + SOFTWARE.end)
  frame.writeUInt32LE(MAGIC1, software)
  const { byteLength, features } = declaredXstate(xstate)
  frame.writeUInt32LE(byteLength + 4, software + 4)
  frame.writeBigUInt64LE(features, fpstate + SOFTWARE.features)
  frame.writeUInt32LE(byteLength, software + 16)
  for (const end of [byteLength, xstate.length]) frame.writeUInt32LE(MAGIC2, fpstate + end)
  return frame
}

function writeContext(frame: Buffer, registers: Registers, signalMask: bigint): void {
  frame.writeUInt32LE(UCONTEXT_FLAGS, UCONTEXT.flags)
  frame.writeUInt32LE(NO_STACK_MODE, UCONTEXT.stackFlags)
  for (const [index, name] of CONTEXT_ORDER.entries()) {
    frame.writeBigUInt64LE(registerWord(registers, name), UCONTEXT.registers + 8 * index)
  }
  for (const [index, name] of SEGMENT_ORDER.entries()) {
    frame.writeUInt16LE(Number(registerWord(registers, name) & 0xffffn), UCONTEXT.segments + 2 * index)
  }
  frame.writeBigUInt64LE(signalMask, UCONTEXT.mask)
}

/** From the frame to the XSAVE area, which the processor wants at a multiple of 64. */
function fpstateOffset(): number {
  return Math.ceil(UCONTEXT.bytes / 64) * 64
}

/**
 * What the frame says of its XSAVE area: all, but not AMX where the thread does not use it. ptrace always gives
 * room for AMX, and a frame larger than the thread has asked for is refused. Before Linux 6.8 the kernel looks for
 * the second magic at the end that the frame tells, since then at the end that it knows itself: unused AMX has
 * a magic on both sides. An area that ends early for any other reason would lose AVX silently.
 *
 * source: arch/x86/kernel/fpu/signal.c check_xstate_in_sigframe
 */
function declaredXstate(xstate: Buffer): { byteLength: number; features: bigint } {
  const inUse = xstate.readBigUInt64LE(IN_USE_OFFSET)
  const features = xstate.readBigUInt64LE(SOFTWARE.start)
  if ((features & AMX_FEATURES) === 0n || (inUse & AMX_FEATURES) !== 0n)
    return { byteLength: xstate.length, features }
  const { withPkru, without } = BEFORE_AMX_BYTES
  const byteLength = (features & PKRU_FEATURE) === 0n ? without : withPkru
  return { byteLength, features: features & ~AMX_FEATURES }
}
