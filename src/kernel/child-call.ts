/**
 * A system call run by a traced child that has nothing of its own to go back to: it was made for that.
 *
 * It stands where it was born, its stack pointer at a frame by which it exits (see kernel/fork). The stub makes the
 * call and then rt_sigreturn, so a child whose tracer dies at any instant makes the call at most, and exits.
 */
import { PTRACE } from './abi.js'
import { awaitCall } from './await-stop.js'
import { TidemarkError } from '../errors.js'
import type { MadeChild } from './borrowed-thread.js'
import { ptrace, syscallError } from './libc.js'
import { readRegisters, type Registers, signedRegister, withRegisters, writeRegisters } from './registers.js'

/** A child that stands. */
export interface BornChild {
  readonly pid: number
  /** For its next call: instruction pointer at the stub, stack pointer at its frame. */
  readonly registers: Registers
}

/**
 * Runs one system call; the child then stands behind it.
 *
 * @param deadline - in the clock of performance.now()
 * @throws FORK_FAILED where it takes longer, SYSCALL_FAILED, and TARGET_DIED where the child is gone
 */
export function callInChild(
  child: BornChild,
  number: number,
  args: readonly number[],
  deadline: number,
): MadeChild {
  const { pid, registers } = child
  const [rdi = 0, rsi = 0, rdx = 0] = args
  // -1: it is in no system call, so the kernel has none to repeat.
  writeRegisters(pid, withRegisters(registers, { rax: number, origRax: -1, rdi, rsi, rdx }))
  sendOn(pid, deadline)
  const made = sendOn(pid, deadline)
  const after = readRegisters(pid)
  if (after === undefined) throw syscallError('ptrace(PTRACE_GETREGSET)', 'a child has no registers', { pid })
  return { result: signedRegister(after, 'rax'), child: made }
}

/** To the entry or the exit of a call; the child's child. */
function sendOn(pid: number, deadline: number): number | undefined {
  if (ptrace(PTRACE.SYSCALL, pid, 0, 0) < 0)
    throw syscallError('ptrace(PTRACE_SYSCALL)', `cannot send process ${String(pid)} on`, { pid })
  const { stop, child } = awaitCall(pid, pid, deadline, false)
  if (stop === 'syscall') return child
  throw new TidemarkError('FORK_FAILED', 'the fork took longer than the target may stand still', { pid })
}
