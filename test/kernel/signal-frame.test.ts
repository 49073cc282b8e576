import { describe, expect, it } from '@jest/globals'
import {
  REGISTER_NAMES,
  type RegisterName,
  registerWord,
  type Registers,
} from '../../src/kernel/registers.js'
import { buildFrame, frameBytes, resumedRegisters } from '../../src/kernel/signal-frame.js'

const ADDRESS = 0x7fff_1234_5640
const MAGIC1 = 0x46505853
const MAGIC2 = 0x46505845
const FPSTATE = 320
const AVX_BYTES = 832
const AMX_BYTES = 11008

/** Registers with different values, some of them given. */
function registersWith(given: Partial<Record<RegisterName, bigint>> = {}): Registers {
  const registers = new BigUint64Array(REGISTER_NAMES.length)
  for (const [index, name] of REGISTER_NAMES.entries()) registers[index] = given[name] ?? BigInt(1000 + index)
  return registers
}

/** An XSAVE area as ptrace gives it: `features` the kernel knows, `inUse` those not in their initial state. */
function xstateOf(byteLength: number, features: bigint, inUse: bigint): Buffer {
  const xstate = Buffer.alloc(byteLength, 0x5a)
  xstate.writeBigUInt64LE(features, 464)
  xstate.writeBigUInt64LE(inUse, 512)
  return xstate
}

function frameOf(xstate: Buffer, registers: Registers = registersWith()): Buffer {
  return buildFrame(ADDRESS, { registers, signalMask: 0x1234_5678_9abc_def0n, xstate })
}

describe('a signal frame', () => {
  const frame = frameOf(xstateOf(AVX_BYTES, 7n, 7n))

  it('has the members of struct ucontext where the kernel looks for them', () => {
    const registers = registersWith()
    const word = (offset: number): bigint => frame.readBigUInt64LE(offset)
    expect(word(0)).toBe(7n)
    const order = 'r8 r9 r10 r11 r12 r13 r14 r15 rdi rsi rbp rbx rdx rax rcx rsp rip eflags'.split(' ')
    for (const [index, name] of order.entries()) {
      const known = REGISTER_NAMES.find((candidate) => candidate === name)
      expect(word(40 + 8 * index)).toBe(known === undefined ? undefined : registerWord(registers, known))
    }
    const segments = [184, 186, 188, 190].map((offset) => BigInt(frame.readUInt16LE(offset)))
    const names = ['cs', 'gs', 'fs', 'ss'] as const
    expect(segments).toEqual(names.map((name) => registerWord(registers, name)))
    expect(word(296)).toBe(0x1234_5678_9abc_def0n)
  })

  it('names no valid alternate stack, so that the thread keeps its own', () => {
    expect(frame.readUInt32LE(24)).toBe(0x7f)
  })

  it('points to the vector state, at a multiple of 64 behind the registers', () => {
    expect(frame.readBigUInt64LE(224)).toBe(BigInt(ADDRESS + FPSTATE))
    expect((ADDRESS + FPSTATE) % 64).toBe(0)
    expect(frame).toHaveLength(frameBytes(AVX_BYTES))
    const xstate = xstateOf(AVX_BYTES, 7n, 7n)
    expect(frame.subarray(FPSTATE, FPSTATE + 464)).toEqual(xstate.subarray(0, 464))
    expect(frame.subarray(FPSTATE + 512, FPSTATE + AVX_BYTES)).toEqual(xstate.subarray(512))
  })

  it('tells size and features of the vector state between two magic numbers', () => {
    expect(softwareOf(frame)).toEqual([MAGIC1, AVX_BYTES + 4, 7n, AVX_BYTES])
    expect(frame.subarray(FPSTATE + 484, FPSTATE + 512)).toEqual(Buffer.alloc(28))
    expect(frame.readUInt32LE(FPSTATE + AVX_BYTES)).toBe(MAGIC2)
  })

  it('leaves AMX out where the thread does not use it, with a magic at both ends', () => {
    const amx = frameOf(xstateOf(AMX_BYTES, 0x602e7n, 0x2e7n))
    expect(softwareOf(amx)).toEqual([MAGIC1, 2700, 0x2e7n, 2696])
    expect([2696, AMX_BYTES].map((end) => amx.readUInt32LE(FPSTATE + end))).toEqual([MAGIC2, MAGIC2])
    expect(softwareOf(frameOf(xstateOf(AMX_BYTES, 0x600e7n, 7n)))[3]).toBe(2688)
  })

  it('holds all of AMX where the thread uses it', () => {
    const amx = frameOf(xstateOf(AMX_BYTES, 0x602e7n, 0x602e7n))
    expect(softwareOf(amx)).toEqual([MAGIC1, AMX_BYTES + 4, 0x602e7n, AMX_BYTES])
    expect(amx.readUInt32LE(FPSTATE + AMX_BYTES)).toBe(MAGIC2)
  })

  /** Magic, size of all, features, size of the state. */
  function softwareOf(bytes: Buffer): (number | bigint)[] {
    const at = FPSTATE + 464
    const features = bytes.readBigUInt64LE(at + 8)
    return [bytes.readUInt32LE(at), bytes.readUInt32LE(at + 4), features, bytes.readUInt32LE(at + 16)]
  }
})

describe('a thread that goes on by rt_sigreturn', () => {
  it.each([-512n, -513n, -514n, -516n])('repeats a system call that was interrupted with %s', (rax) => {
    const resumed = resumedRegisters(registersWith({ origRax: 35n, rax, rip: 0x401000n }))
    expect(registerWord(resumed, 'rax')).toBe(35n)
    expect(registerWord(resumed, 'rip')).toBe(0x400ffen)
  })

  it.each([
    ['a system call that has ended', { origRax: 35n, rax: 0n }],
    ['a system call that has failed', { origRax: 232n, rax: -4n }],
    ['no system call', { origRax: -1n, rax: -512n }],
  ])('goes on as it is in %s', (_name, given) => {
    const registers = registersWith(given)
    expect(resumedRegisters(registers)).toEqual(registers)
  })
})
