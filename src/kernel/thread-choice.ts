/**
 * Which thread of a held target runs a system call for us: one that can be moved away from where it stands and put
 * back without its noticing. All is asked before anything is touched.
 */
import type { CallStub, StubPlaces } from './call-stub.js'
import { PTRACE, SYS } from './abi.js'
import { injectionRefused } from './injection-refused.js'
import { addressOf, ptrace } from './libc.js'
import { readStatus, targetDied } from './procfs.js'
import { addressRegister, readRegisters, readXstate, type Registers, signedRegister } from './registers.js'
import { frameBytes } from './signal-frame.js'

/** Threads of one process, all of which stand. */
export interface HeldThreads {
  readonly pid: number
  /** All of them. */
  readonly threads: readonly number[]
  /** Those that stand in a ptrace stop. */
  readonly traced: readonly number[]
  /** Where stub and frames go, if that is known. */
  readonly places?: StubPlaces
}

/** A thread, and where its frame goes. */
export interface ChosenThread {
  readonly tid: number
  readonly registers: Registers
  readonly xstate: Buffer
  readonly frameAddress: number
  /** It has a seccomp filter, which has to be suspended. */
  readonly hasSeccomp: boolean
}

/** The code segment of 64-bit code. source: arch/x86/include/asm/segment.h __USER_CS */
const USER_CODE_64 = 0x33
/** source: include/linux/errno.h ERESTART_RESTARTBLOCK */
const RESTART_BLOCK = -516
/** sizeof(struct ptrace_rseq_configuration), and struct ptrace_sud_config. source: include/uapi/linux/ptrace.h */
const RSEQ_CONFIGURATION_BYTES = 24
const DISPATCH_CONFIGURATION_BYTES = 32

/** The words of a /proc status line, e.g. of `x86_Thread_features`. */
export function statusWords(line: string | undefined): readonly string[] {
  return (line ?? '').split(/\s+/).filter((word) => word !== '')
}

/** Whether code at `rip` is inside the critical section [start, start + length). source: kernel/rseq.c in_rseq_cs */
export function isInside(rip: number, section: { readonly start: number; readonly length: number }): boolean {
  return rip >= section.start && rip < section.start + section.length
}

/** Throws `INJECTION_REFUSED` where threads stand in no ptrace stop, or are of a 32-bit process. */
export function refuseProcess({ pid, threads, traced }: HeldThreads): void {
  if (traced.length < threads.length)
    throw injectionRefused(pid, 'a cgroup freezer holds some of its threads')
  for (const tid of traced) {
    if (readRegisters(tid) === undefined) throw injectionRefused(pid, 'it is a 32-bit process')
  }
}

/**
 * A thread fit for the call, the main one only where its frame has to lie on the main stack.
 *
 * @param onMainStack - the frame goes there though it fits elsewhere; for tests
 * @throws INJECTION_REFUSED with the reason
 */
export function chooseThread(held: HeldThreads, stub: CallStub, onMainStack: boolean): ChosenThread {
  const { pid } = held
  const reasons = new Set<string>()
  const asLast: ChosenThread[] = []
  // Of all threads before any is chosen: a frame of an earlier run that was killed may lie where ours would.
  const registers = new Map(held.traced.map((tid) => [tid, registersOf(pid, tid, stub)]))
  const mainLast = [...registers].sort(([a], [b]) => Number(a === pid) - Number(b === pid))
  // Of a thousand threads none need be asked where only the main stack has room.
  const isRoomy = fitsInVdso(held, stub, onMainStack)
  for (const [tid, own] of isRoomy ? mainLast : mainLast.slice(-1)) {
    const reason = obstacle(pid, tid, own, stub)
    if (reason !== undefined) {
      reasons.add(reason)
      continue
    }
    const xstate = readXstate(tid)
    const frameAddress = placeFrame(stub, tid === pid ? own : undefined, xstate.length, onMainStack)
    if (frameAddress === undefined) {
      reasons.add('there is no place for a frame of its size')
      continue
    }
    const hasSeccomp = (readStatus(pid, tid)?.get('Seccomp') ?? '0') !== '0'
    const chosen = { tid, registers: own, xstate, frameAddress, hasSeccomp }
    if (signedRegister(own, 'rax') !== RESTART_BLOCK) return chosen
    // Exact unless we are killed; then its call, a sleep, begins anew. So: only where there is no other.
    asLast.push(chosen)
  }
  const [last] = asLast
  if (last !== undefined) return last
  throw injectionRefused(pid, `no thread is fit for it: ${[...reasons].join(', ')}`)
}

/** The vector state, which makes the size of a frame, is as large for each thread of a machine. */
function fitsInVdso({ traced }: HeldThreads, stub: CallStub, onMainStack: boolean): boolean {
  const [any] = traced
  return any !== undefined && placeFrame(stub, undefined, readXstate(any).length, onMainStack) !== undefined
}

function registersOf(pid: number, tid: number, stub: CallStub): Registers {
  const registers = readRegisters(tid)
  if (registers === undefined) throw injectionRefused(pid, 'it is a 32-bit process')
  if (stub.contains(addressRegister(registers, 'rip')))
    throw injectionRefused(pid, 'a thread of it is on its way back from a run that was killed; let it run on')
  return registers
}

/** Why the thread must not be moved, or undefined. */
function obstacle(pid: number, tid: number, registers: Registers, stub: CallStub): string | undefined {
  const status = readStatus(pid, tid)
  if (status === undefined) throw targetDied(pid)
  if (statusWords(status.get('x86_Thread_features')).includes('shstk')) return 'it has a shadow stack'
  if (signedRegister(registers, 'cs') !== USER_CODE_64) return 'it runs 32-bit code'
  // What it sleeps in cannot be begun anew: only the kernel knows how it was called.
  if (signedRegister(registers, 'origRax') === SYS.restartSyscall) return 'it is in restart_syscall'
  if (dispatchesCalls(tid)) return 'it handles its system calls itself'
  if (isInCriticalSection(tid, addressRegister(registers, 'rip'), stub))
    return 'it is in a restartable sequence'
  return undefined
}

/** Syscall user dispatch would answer our call by a signal. Unknown before Linux 6.4, and then taken for no. */
function dispatchesCalls(tid: number): boolean {
  const configuration = new BigUint64Array(DISPATCH_CONFIGURATION_BYTES / 8)
  const request = PTRACE.GET_SYSCALL_USER_DISPATCH_CONFIG
  const got = ptrace(request, tid, configuration.byteLength, addressOf(configuration))
  return got >= 0 && configuration[0] !== 0n
}

/**
 * Whether the kernel would have to send the thread to an abort handler: it looks for that where the thread
 * stands when it goes on, which would be in our stub. Unknown before Linux 5.13, and then taken for no.
 *
 * source: include/uapi/linux/rseq.h struct rseq, struct rseq_cs
 */
function isInCriticalSection(tid: number, rip: number, stub: CallStub): boolean {
  const configuration = new BigUint64Array(RSEQ_CONFIGURATION_BYTES / 8)
  const request = PTRACE.GET_RSEQ_CONFIGURATION
  if (ptrace(request, tid, configuration.byteLength, addressOf(configuration)) < 0) return false
  const [area = 0n] = configuration
  if (area === 0n) return false
  const [, descriptor = 0n] = stub.readWords(Number(area), 2) ?? []
  if (descriptor === 0n) return false
  const words = stub.readWords(Number(descriptor), 3)
  if (words === undefined) return true
  return isInside(rip, { start: Number(words[1]), length: Number(words[2]) })
}

function placeFrame(
  stub: CallStub,
  main: Registers | undefined,
  xstateBytes: number,
  onMainStack: boolean,
): number | undefined {
  const byteLength = frameBytes(xstateBytes)
  const inVdso = onMainStack ? undefined : stub.placeInVdso(byteLength)
  if (inVdso !== undefined || main === undefined) return inVdso
  return stub.placeOnMainStack(addressRegister(main, 'rsp'), byteLength)
}
