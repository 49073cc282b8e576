/**
 * Running system calls inside a target that is held by ptrace, so that it survives our death at any instant.
 *
 * Before its registers are touched, a thread gets a signal frame that holds all of them. From then on, wherever
 * it stands when its tracer is gone, it runs into rt_sigreturn and finds itself as it was. "Kill" says what happens:
 *
 *   step       done by then                                        kill
 *   stub       the stub is in the vdso                             nothing was changed
 *   frame      the frame is written                                nothing was changed
 *   armed      registers: rip = stub, rax = rt_sigreturn           rt_sigreturn
 *   masked     all signals blocked, so that none meets the stub    rt_sigreturn, which unblocks them
 *   resumed    on its way into rt_sigreturn                        rt_sigreturn
 *   entry      stands before rt_sigreturn is run                   rt_sigreturn
 *   replaced   another call's number and arguments instead         that call, then rt_sigreturn
 *   running    on its way through that call                        the same
 *   exit       stands behind that call                             rt_sigreturn
 *   rearmed    registers as in `armed`, for the next call          rt_sigreturn
 *   unmasked   its own signals blocked                             rt_sigreturn
 *   restored   its own registers                                   goes on as after any stop
 *   uncovered  what lay where the frame lies, put back             the same
 *
 * The order matters: blocked before armed, or unblocked after restored, signals could stay blocked for good. Since
 * the thread enters by rt_sigreturn, which every seccomp filter allows, it meets its filter with our call only
 * if we are killed between `replaced` and `exit`.
 *
 * Architecture Invariant: no single steps (a trap flag outlives its tracer and kills the target), and no system
 * call stops without PTRACE_O_TRACESYSGOOD (their SIGTRAP does the same).
 */
import { PTRACE, PTRACE_O, SYS } from './abi.js'
import { awaitCall } from './await-stop.js'
import type { AddressRange, CallStub } from './call-stub.js'
import { injectionRefused } from './injection-refused.js'
import { EPERM, errno, ptrace, syscallError } from './libc.js'
import {
  readRegisters,
  readSignalMask,
  registerWord,
  type Registers,
  signedRegister,
  withRegisters,
  writeRegisters,
  writeSignalMask,
} from './registers.js'
import { buildFrame, frameBytes, resumedRegisters } from './signal-frame.js'
import type { ChosenThread } from './thread-choice.js'

/** A point at which we may be killed; see the table above, and that of kernel/fork. */
export type InjectionStep =
  | ForkStep
  | ('stub' | 'frame' | 'armed' | 'masked' | 'resumed' | 'entry' | 'replaced' | 'running' | 'exit')
  | ('rearmed' | 'unmasked' | 'restored' | 'uncovered')

/** More of them, on the way to a fork: see kernel/fork. */
export type ForkStep =
  'exit frame' | 'go-between' | 'bound' | 'descriptors' | 'forked' | 'expendable' | 'gone'

/** How calls are run. */
export interface InjectionOptions {
  /** When calls have to be over, in the clock of performance.now(). */
  readonly deadline?: number
  /** Told each step; for tests, which kill there. */
  readonly onStep?: (step: InjectionStep) => void
  /** The frame goes to the main stack though it fits elsewhere; for tests. */
  readonly onMainStack?: boolean
  /** Children will need a frame too. */
  readonly forks?: boolean
}

/** In which a thread reaches the entry or the exit of a call. */
const STOP_TIMEOUT_MS = 1000
const ALL_SIGNALS = 0xffffffffffffffffn
/** EFLAGS.TF */
const TRAP_FLAG = 0x100n
const SYSCALL_BYTES = 2
/** What stands in rax while a call is on its way. source: include/uapi/asm-generic/errno.h, arch/x86/entry/entry_64.S */
const ENOSYS = 38

/** What a call that makes a child did. */
export interface MadeChild {
  /** The child's pid in the target's own pid namespace, or the negative errno. */
  readonly result: number
  /** The child's pid, which stands where it was born; undefined where there is none. */
  readonly child: number | undefined
}

/** A thread that runs system calls for us, and is put back afterwards. */
export class BorrowedThread {
  readonly #pid: number
  readonly #thread: ChosenThread
  readonly #stub: CallStub
  readonly #deadline: number
  readonly #onStep: (step: InjectionStep) => void
  readonly #armed: Registers
  readonly #signalMask: bigint
  /** Its registers are ours. */
  #isArmed = false
  /** It was sent on and has not been seen to stand. */
  #isRunning = false
  /** It stands before a call, which cannot be called off but by another number. */
  #isAtEntry = false
  /** What lay where the frame lies: below a stack pointer there may be somebody's data, for instance a coroutine's caller. */
  #covered: Buffer | undefined
  #calls = 0
  /** Of the call that was started last. */
  #number = 0

  constructor(pid: number, thread: ChosenThread, stub: CallStub, options: InjectionOptions) {
    this.#pid = pid
    this.#thread = thread
    this.#stub = stub
    this.#deadline = options.deadline ?? Infinity
    this.#onStep = options.onStep ?? ignoreStep
    this.#signalMask = readSignalMask(thread.tid)
    // -1 in origRax: it is in no system call, so the kernel has none to repeat.
    this.#armed = withRegisters(thread.registers, {
      rip: stub.address,
      rsp: thread.frameAddress,
      rax: SYS.rtSigreturn,
      origRax: -1,
      eflags: registerWord(thread.registers, 'eflags') & ~TRAP_FLAG,
    })
  }

  /** Makes the thread ready for calls. */
  begin(): void {
    const { tid, registers, xstate, frameAddress } = this.#thread
    this.#setOptions()
    this.#stub.install()
    this.#onStep('stub')
    const content = { registers: resumedRegisters(registers), signalMask: this.#signalMask, xstate }
    const frame = buildFrame(frameAddress, content)
    this.#covered = this.#stub.read(frameAddress, frame.length)
    this.#stub.write(frameAddress, frame)
    this.#onStep('frame')
    this.#isArmed = true
    writeRegisters(tid, this.#armed)
    this.#onStep('armed')
    writeSignalMask(tid, ALL_SIGNALS)
    this.#onStep('masked')
  }

  /** Its registers before a call: a child of it inherits them. */
  get registers(): Registers {
    return this.#armed
  }

  /** Runs clone; the child is traced from its birth. */
  clone(flags: number, stackPointer: number): MadeChild {
    this.start(SYS.clone, [flags, stackPointer])
    return this.#finish()
  }

  /** Runs one system call. */
  call(number: number, args: readonly number[]): number {
    this.start(number, args)
    return this.finish()
  }

  /** Waits for the end of the call that was started; its result, or the negative errno. */
  finish(): number {
    return this.#finish().result
  }

  /** Sends it into a system call. */
  start(number: number, args: readonly number[]): void {
    const { tid } = this.#thread
    if (this.#calls++ > 0) {
      this.#bringToStand()
      writeRegisters(tid, this.#armed)
      this.#onStep('rearmed')
    }
    this.#resume('resumed')
    const entry = this.#expectStop(SYS.rtSigreturn, 'entry').registers
    const [rdi = 0, rsi = 0, rdx = 0, r10 = 0, r8 = 0, r9 = 0] = args
    writeRegisters(tid, withRegisters(entry, { origRax: number, rdi, rsi, rdx, r10, r8, r9 }))
    this.#onStep('replaced')
    this.#number = number
    this.#resume('running')
  }

  #finish(): MadeChild {
    const { registers, child } = this.#expectStop(this.#number, 'exit')
    const result = signedRegister(registers, 'rax')
    if (result !== -ENOSYS) return { result, child }
    // A call that a signal has cut short is begun anew: this is its entry, not its exit.
    this.#isAtEntry = true
    throw injectionRefused(this.#pid, 'a signal came in between')
  }

  /** Puts the thread back as it was, where it stood. */
  end(): void {
    const { tid, registers } = this.#thread
    if (this.#isArmed) {
      this.#bringToStand()
      writeSignalMask(tid, this.#signalMask)
      this.#onStep('unmasked')
      writeRegisters(tid, registers)
      this.#isArmed = false
      this.#onStep('restored')
    }
    ptrace(PTRACE.SETOPTIONS, tid, 0, 0)
    if (this.#covered === undefined) return
    this.#stub.write(this.#thread.frameAddress, this.#covered)
    this.#covered = undefined
    this.#onStep('uncovered')
  }

  /** Where the frame lies. */
  get frame(): AddressRange {
    const { frameAddress, xstate } = this.#thread
    return { start: frameAddress, end: frameAddress + frameBytes(xstate.length) }
  }

  /** The ptrace options that it needs, and that a child of it needs too. */
  get traceOptions(): number {
    const { hasSeccomp } = this.#thread
    return PTRACE_O.TRACESYSGOOD + PTRACE_O.TRACECLONE + (hasSeccomp ? PTRACE_O.SUSPEND_SECCOMP : 0)
  }

  #setOptions(): void {
    const { tid, hasSeccomp } = this.#thread
    if (ptrace(PTRACE.SETOPTIONS, tid, 0, this.traceOptions) >= 0) return
    if (hasSeccomp && errno() === EPERM) {
      throw injectionRefused(
        this.#pid,
        'it has a seccomp filter, which only CAP_SYS_ADMIN, without a filter of its own, may suspend',
      )
    }
    throw syscallError('ptrace(PTRACE_SETOPTIONS)', `cannot prepare thread ${String(tid)}`, { tid })
  }

  #resume(step: InjectionStep): void {
    const { tid } = this.#thread
    if (ptrace(PTRACE.SYSCALL, tid, 0, 0) < 0)
      throw syscallError('ptrace(PTRACE_SYSCALL)', `cannot send thread ${String(tid)} on`, { tid })
    this.#isRunning = true
    this.#onStep(step)
  }

  /** The registers at the next stop, which has to be that of system call `number` from the stub. */
  #expectStop(
    number: number,
    step: 'entry' | 'exit',
  ): { readonly registers: Registers; readonly child: number | undefined } {
    const { tid } = this.#thread
    const deadline = Math.min(performance.now() + STOP_TIMEOUT_MS, this.#deadline)
    const { stop, child } = awaitCall(this.#pid, tid, deadline, false)
    if (stop === 'none')
      throw injectionRefused(this.#pid, `its thread ${String(tid)} did not run in time; a cgroup may hold it`)
    this.#isRunning = false
    this.#isAtEntry = step === 'entry'
    const registers = readRegisters(tid)
    const isOurs =
      registers !== undefined &&
      signedRegister(registers, 'origRax') === number &&
      signedRegister(registers, 'rip') === this.#stub.address + SYSCALL_BYTES
    if (!isOurs) throw injectionRefused(this.#pid, `its thread ${String(tid)} went another way`)
    this.#onStep(step)
    return { registers, child }
  }

  /** After a call that went as it should nothing is left to do. */
  #bringToStand(): void {
    const { tid } = this.#thread
    const patience = (): number => performance.now() + STOP_TIMEOUT_MS
    if (this.#isRunning) {
      ptrace(PTRACE.INTERRUPT, tid, 0, 0)
      const { stop } = awaitCall(this.#pid, tid, patience(), true)
      if (stop === 'none') this.#giveUp()
      this.#isRunning = false
      if (stop === 'syscall') this.#isAtEntry = !this.#isAtEntry
    }
    if (!this.#isAtEntry) return
    // Here its own registers would name the call to be run next. So it runs rt_sigreturn; they are set behind it.
    const registers = readRegisters(tid)
    if (registers !== undefined) writeRegisters(tid, withRegisters(registers, { origRax: SYS.rtSigreturn }))
    ptrace(PTRACE.SYSCALL, tid, 0, 0)
    if (awaitCall(this.#pid, tid, patience(), false).stop === 'none') this.#giveUp()
    this.#isAtEntry = false
  }

  /** Its frame brings the thread back as soon as it runs. */
  #giveUp(): never {
    const { tid } = this.#thread
    throw injectionRefused(
      this.#pid,
      `its thread ${String(tid)} does not run; it finds its way back when it does`,
    )
  }
}

function ignoreStep(): void {
  // Only tests want to know.
}
