/**
 * mm-PID.img: the layout of an address space, all VMAs of maps in CRIU's terms.
 *
 * CRIU's list differs from maps in three ways: neighbouring vvar areas are one entry, [uprobes] is left out,
 * and guard ranges follow at the end as areas of their own. [vsyscall] is in it, without VMA_AREA_REGULAR.
 *
 * source: criu/proc_parse.c parse_smaps, criu/cr-dump.c dump_task_mm, criu/mem.c collect_madv_guards, criu/aio.c
 */
import type { Vma } from '../core/vma.js'
import { fileId, type FileTable } from './files.js'
import { MM_MAGICS } from './magic.js'
import type { AioRingEntry, MmEntry, VmaEntry } from './messages.js'
import { decodeSingleImage, encodeImage } from './typed-image.js'
import { bitNames, MAP, STATUS } from './vma-bits.js'
import { needsFileId, vmaEntry } from './vma-entry.js'

/** An address in bytes. User-space addresses are exact in a number. */
export type Address = number | bigint

/** What an mm image holds beside the VMAs; from /proc/PID/stat, auxv and maps. */
export interface MmFacts {
  readonly startCode: Address
  readonly endCode: Address
  readonly startData: Address
  readonly endData: Address
  readonly startStack: Address
  readonly startBrk: Address
  /** The end of [heap]: no /proc file has the exact value. */
  readonly brk: Address
  readonly argStart: Address
  readonly argEnd: Address
  readonly envStart: Address
  readonly envEnd: Address
  /** Key, value, key, value, as in /proc/PID/auxv; the image has at most 22 pairs of it. */
  readonly auxv: readonly bigint[]
  /** Id of the executable in the file table. */
  readonly exeFileId: number
}

/**
 * Words of an auxiliary vector that CRIU takes; longer ones, which newer kernels give, it cuts itself, and
 * refuses in an image. source: criu/arch/x86/include/asm/types.h AT_VECTOR_SIZE, criu/cr-restore.c
 */
const MAX_AUXV_WORDS = 44

/** Pages under MADV_GUARD_INSTALL: [`startPage`, `endPage`). */
export interface GuardRange {
  readonly startPage: number
  readonly endPage: number
}

/**
 * mm-PID.img.
 *
 * @param vmas - in address order, with flags where they are known
 * @param files - has the files of `vmas`, see collectFiles
 * @param pageSize - in bytes
 * @param guards - in address order
 */
export function encodeMm(
  vmas: readonly Vma[],
  facts: MmFacts,
  files: FileTable,
  pageSize: number,
  guards: readonly GuardRange[] = [],
): Uint8Array {
  const entries = vmaEntries(vmas, files, pageSize)
  const message: MmEntry = {
    mmStartCode: BigInt(facts.startCode),
    mmEndCode: BigInt(facts.endCode),
    mmStartData: BigInt(facts.startData),
    mmEndData: BigInt(facts.endData),
    mmStartStack: BigInt(facts.startStack),
    mmStartBrk: BigInt(facts.startBrk),
    mmBrk: BigInt(facts.brk),
    mmArgStart: BigInt(facts.argStart),
    mmArgEnd: BigInt(facts.argEnd),
    mmEnvStart: BigInt(facts.envStart),
    mmEnvEnd: BigInt(facts.envEnd),
    exeFileId: facts.exeFileId,
    mmSavedAuxv: facts.auxv.slice(0, MAX_AUXV_WORDS),
    vmas: [...entries, ...guards.map((guard) => guardEntry(guard, pageSize))],
    aios: entries
      .filter((entry) => entry.status === STATUS.VMA_AREA_AIORING)
      .map((entry) => aioRing(entry, pageSize)),
  }
  return encodeImage(MM_MAGICS, 'mm_entry', [message])
}

/** The message of an mm image. Throws `BAD_IMAGE`. */
export function decodeMm(bytes: Uint8Array, path: string): MmEntry {
  return decodeSingleImage(MM_MAGICS, 'mm_entry', bytes, path)
}

/** The value of auxv key `key`, or undefined. */
export function auxvValue(auxv: readonly bigint[], key: bigint): bigint | undefined {
  for (let index = 0; index + 1 < auxv.length; index += 2) {
    if (auxv[index] === key) return auxv[index + 1]
  }
  return undefined
}

/** A VMA of an image in words, e.g. permissions `rw-p`, flags `PRIVATE ANONYMOUS`, status `VMA_AREA_REGULAR ...`. */
export function describeVma(entry: VmaEntry): { permissions: string; flags: string[]; status: string[] } {
  const letter = (bit: number, character: string): string => ((entry.prot & bit) === 0 ? '-' : character)
  const sharing = (entry.flags & MAP.SHARED) === 0 ? 'p' : 's'
  return {
    permissions: letter(1, 'r') + letter(2, 'w') + letter(4, 'x') + sharing,
    flags: bitNames(MAP, entry.flags),
    status: bitNames(STATUS, entry.status),
  }
}

function vmaEntries(vmas: readonly Vma[], files: FileTable, pageSize: number): VmaEntry[] {
  const entries: VmaEntry[] = []
  for (const vma of vmas) {
    if (vma.path === '[uprobes]') continue
    const entry = vmaEntry(vma, pageSize, needsFileId(vma) ? fileId(files, vma) : undefined)
    const last = entries.at(-1)
    if (last !== undefined && isVvar(last) && isVvar(entry) && last.end === entry.start) {
      entries[entries.length - 1] = { ...last, end: entry.end }
    } else {
      entries.push(entry)
    }
  }
  return entries
}

function isVvar(entry: VmaEntry): boolean {
  return (entry.status & STATUS.VMA_AREA_VVAR) !== 0
}

function guardEntry(guard: GuardRange, pageSize: number): VmaEntry {
  const size = BigInt(pageSize)
  return {
    start: BigInt(guard.startPage) * size,
    end: BigInt(guard.endPage) * size,
    pgoff: 0n,
    shmid: 0n,
    prot: 0,
    flags: 0,
    status: STATUS.VMA_AREA_GUARD,
    fd: -1n,
  }
}

/**
 * The ring in `entry`, with the number of requests that makes io_setup build a ring of its size: the kernel
 * doubles it, adds two, and fills the last page. source: fs/aio.c aio_setup_ring, criu/aio.c aio_estimate_nr_reqs
 */
function aioRing(entry: VmaEntry, pageSize: number): AioRingEntry {
  const ringHeaderBytes = 32
  const eventBytes = 32
  const ringLen = Number(entry.end - entry.start)
  const events = Math.floor((Math.floor(ringLen / pageSize) * pageSize - ringHeaderBytes) / eventBytes)
  return { id: entry.start, nrReq: Math.floor((events - 2) / 2), ringLen }
}
