/**
 * The few instructions that a thread of the target runs for us, and where they and the frame lie.
 *
 * They lie in the dead end of the vdso: behind its section headers up to the end of its last page are zeros that
 * no program has a use for. Every target has them, whatever its libc, and in an executable page.
 *
 *   [vdso]  |ELF image | section headers |stub|mark|pad| frame, if it fits    |
 *                                         ▲ a multiple of 16   ▲ a multiple of 64
 *
 * The page becomes the target's own copy by the first write. The stub stays there; it is found again.
 *
 * source: include/uapi/linux/elf.h Elf64_Ehdr
 */
import { closeSync, openSync } from 'node:fs'
import type { Vma } from '../core/vma.js'
import { injectionRefused } from './injection-refused.js'
import { addressOf, errnoName, pread, pwriteAt } from './libc.js'
import { parseMaps } from './maps-text.js'
import { pageSize } from './page-size.js'
import { isGone, readProc, targetDied } from './procfs.js'

/** A place in the target, [start, end). */
export interface AddressRange {
  readonly start: number
  /** Exclusive. */
  readonly end: number
}

/** Where a target has its vdso and its main stack. */
export interface StubPlaces {
  readonly vdso: AddressRange | undefined
  readonly stack: AddressRange | undefined
}

/** The places in a target with these VMAs. */
export function stubPlaces(vmas: readonly Vma[]): StubPlaces {
  return { vdso: rangeOf(vmas, '[vdso]'), stack: rangeOf(vmas, '[stack]') }
}

/** `syscall; mov $15, %rax; syscall; ud2`: a call, then rt_sigreturn, from which nothing comes back. */
const STUB = Buffer.from([0x0f, 0x05, 0x48, 0xc7, 0xc0, 15, 0, 0, 0, 0x0f, 0x05, 0x0f, 0x0b])
const STUB_ALIGNMENT = 16
/** See kernel/interval-mark. */
const MARK_BYTES = 16
const FRAME_ALIGNMENT = 64
/** In Elf64_Ehdr: e_shoff, e_shentsize, e_shnum. */
const ELF = { bytes: 64, magic: 0x464c457f, sectionsOffset: 0x28, sectionBytes: 0x3a, sectionCount: 0x3c }
/** Below the stack pointer a function may keep data without moving it. source: System V ABI for AMD64, 3.2.2 */
const RED_ZONE = 128

/** Memory of one target, opened for writing by the thread that traces it; where stub and frames go in it. */
export class CallStub {
  readonly #pid: number
  readonly #fd: number
  readonly #places: StubPlaces
  readonly #tail: AddressRange
  /** Where the first frame ends at the latest. */
  #frameEnd: number

  /**
   * Changes nothing yet.
   *
   * @param tid - a live thread of process `pid`
   * @param places - as they are now; read from maps, which takes long where there are many VMAs, if they are left out
   * @throws INJECTION_REFUSED where there is no vdso, no room in it, or somebody else's code
   */
  constructor(pid: number, tid: number, places?: StubPlaces) {
    this.#pid = pid
    this.#places = places ?? readPlaces(pid, tid)
    try {
      this.#fd = openSync(`/proc/${String(tid)}/mem`, 'r+')
    } catch (error) {
      if (isGone(error)) throw targetDied(pid, error)
      throw injectionRefused(pid, 'its memory cannot be opened for writing', error)
    }
    try {
      this.#tail = this.#findTail()
      this.#frameEnd = this.#tail.end
    } catch (error) {
      this.close()
      throw error
    }
  }

  get #firstFrame(): number {
    return Math.ceil((this.address + STUB_ALIGNMENT + MARK_BYTES) / FRAME_ALIGNMENT) * FRAME_ALIGNMENT
  }

  /** Address of the stub's first `syscall`. */
  get address(): number {
    return this.#tail.start
  }

  /** Whether an instruction pointer lies in the stub: such a thread is on its way to its frame. */
  contains(address: number): boolean {
    return address >= this.address && address < this.address + STUB_ALIGNMENT
  }

  /** The bytes behind the stub that tell which interval runs. */
  readMark(): Buffer {
    return this.read(this.address + STUB_ALIGNMENT, MARK_BYTES)
  }

  /** Sets them. */
  writeMark(mark: Buffer): void {
    this.write(this.address + STUB_ALIGNMENT, mark)
  }

  /** Writes the stub, unless an earlier run has. */
  install(): void {
    if (!this.#readTail().equals(STUB)) this.write(this.address, STUB)
  }

  /** Address for a frame of `byteLength` in the vdso, or undefined where it does not fit. */
  placeInVdso(byteLength: number): number | undefined {
    const start = this.#firstFrame
    return start + byteLength <= this.#frameEnd ? start : undefined
  }

  /**
   * Sets a place for a second frame of `byteLength` apart, at the very end of the vdso: {@link placeInVdso} leaves it
   * free. Its address, or undefined where it does not fit.
   */
  reserveInVdso(byteLength: number): number | undefined {
    const start = Math.floor((this.#tail.end - byteLength) / FRAME_ALIGNMENT) * FRAME_ALIGNMENT
    if (start < this.#firstFrame) return undefined
    this.#frameEnd = start
    return start
  }

  /**
   * Address for a frame of `byteLength` below `stackPointer`, or undefined where that does not point into the
   * main stack. What lies below the stack pointer of any other thread may be somebody's data: stacks of
   * coroutines and alternate stacks are small pieces of the heap.
   */
  placeOnMainStack(stackPointer: number, byteLength: number): number | undefined {
    const stack = this.#places.stack
    if (stack === undefined || stackPointer <= stack.start || stackPointer > stack.end) return undefined
    const start = Math.floor((stackPointer - RED_ZONE - byteLength) / FRAME_ALIGNMENT) * FRAME_ALIGNMENT
    return start >= stack.start ? start : undefined
  }

  /** The `byteLength` bytes at `address`; zeros where they cannot be read, as on a page that is not there yet. */
  read(address: number, byteLength: number): Buffer {
    const bytes = Buffer.alloc(byteLength)
    pread(this.#fd, bytes, byteLength, address)
    return bytes
  }

  /** The 64-bit words at `address` of the target, or undefined where they cannot be read. */
  readWords(address: number, count: number): BigUint64Array | undefined {
    const words = new BigUint64Array(count)
    return pread(this.#fd, words, words.byteLength, address) === words.byteLength ? words : undefined
  }

  /** Writes to the target's memory, also where its protection forbids it. */
  write(address: number, bytes: Buffer): void {
    if (pwriteAt(this.#fd, addressOf(bytes), bytes.length, address) === bytes.length) return
    throw injectionRefused(this.#pid, `0x${address.toString(16)} cannot be written (${errnoName()})`)
  }

  close(): void {
    closeSync(this.#fd)
  }

  #findTail(): AddressRange {
    const vdso = this.#places.vdso
    if (vdso === undefined) throw injectionRefused(this.#pid, 'it has no vdso')
    const header = Buffer.alloc(ELF.bytes)
    const got = pread(this.#fd, header, header.length, vdso.start)
    if (got !== header.length || header.readUInt32LE(0) !== ELF.magic)
      throw injectionRefused(this.#pid, 'its vdso is no ELF image')
    const sections = header.readUInt16LE(ELF.sectionBytes) * header.readUInt16LE(ELF.sectionCount)
    const imageEnd = vdso.start + Number(header.readBigUInt64LE(ELF.sectionsOffset)) + sections
    const start = Math.ceil(imageEnd / STUB_ALIGNMENT) * STUB_ALIGNMENT
    if (start + STUB_ALIGNMENT + MARK_BYTES > vdso.end)
      throw injectionRefused(this.#pid, 'its vdso has no room left')
    const tail = { start, end: vdso.end }
    const there = this.#readTail(tail)
    if (!there.equals(STUB) && there.some((byte) => byte !== 0))
      throw injectionRefused(this.#pid, 'the end of its vdso is in use')
    return tail
  }

  #readTail(tail: AddressRange = this.#tail): Buffer {
    const bytes = Buffer.alloc(STUB.length)
    pread(this.#fd, bytes, bytes.length, tail.start)
    return bytes
  }
}

function readPlaces(pid: number, tid: number): StubPlaces {
  const maps = readProc(`/proc/${String(tid)}/maps`)
  if (maps === undefined) throw targetDied(pid)
  return stubPlaces(parseMaps(maps, pageSize()))
}

function rangeOf(vmas: readonly Vma[], path: string): AddressRange | undefined {
  const vma = vmas.find((candidate) => candidate.path === path)
  if (vma === undefined) return undefined
  return { start: vma.startPage * pageSize(), end: vma.endPage * pageSize() }
}
