/**
 * The messages of proto/ as TypeScript sees them: fields in camel case, 64-bit integers as bigint.
 *
 * source: images/*.proto of CRIU for names, numbers and meaning; the meaning is told in proto/.
 */

/** A VMA in mm-PID.img. */
export interface VmaEntry {
  readonly start: bigint
  readonly end: bigint
  readonly pgoff: bigint
  readonly shmid: bigint
  readonly prot: number
  readonly flags: number
  readonly status: number
  readonly fd: bigint
  readonly madv?: bigint
  readonly fdflags?: number
}

/** An AIO ring in mm-PID.img. */
export interface AioRingEntry {
  readonly id: bigint
  readonly nrReq: number
  readonly ringLen: number
}

/** The one message of mm-PID.img. */
export interface MmEntry {
  readonly mmStartCode: bigint
  readonly mmEndCode: bigint
  readonly mmStartData: bigint
  readonly mmEndData: bigint
  readonly mmStartStack: bigint
  readonly mmStartBrk: bigint
  readonly mmBrk: bigint
  readonly mmArgStart: bigint
  readonly mmArgEnd: bigint
  readonly mmEnvStart: bigint
  readonly mmEnvEnd: bigint
  readonly exeFileId: number
  readonly mmSavedAuxv: readonly bigint[]
  readonly vmas: readonly VmaEntry[]
  readonly dumpable?: number
  readonly aios: readonly AioRingEntry[]
  readonly thpDisabled?: boolean
}

/** Owner of a descriptor's signals. */
export interface FownEntry {
  readonly uid: number
  readonly euid: number
  readonly signum: number
  readonly pidType: number
  readonly pid: number
}

/** A regular file in files.img; fields that nothing here reads or writes are left out. */
export interface RegFileEntry {
  readonly id: number
  readonly flags: number
  readonly pos: bigint
  readonly fown: FownEntry
  readonly name: string
  readonly size?: bigint
  readonly mode?: number
}

/** A message of files.img. `reg` is there for type `REG` only. */
export interface FileEntry {
  /** A name of the enum fd_types. */
  readonly type: string
  readonly id: number
  readonly reg?: RegFileEntry
}

/** A process in pstree.img. */
export interface PstreeEntry {
  readonly pid: number
  readonly ppid: number
  readonly pgid: number
  readonly sid: number
  readonly threads: readonly number[]
}

/** The one message of inventory.img; fields that nothing here reads or writes are left out. */
export interface InventoryEntry {
  readonly imgVersion: number
  readonly dumpUptime?: bigint
  readonly preDumpMode?: number
}

/** Times (microseconds) and counts of a dump. */
export interface DumpStatsEntry {
  readonly freezingTime: number
  readonly frozenTime: number
  readonly memdumpTime: number
  readonly memwriteTime: number
  readonly pagesScanned: bigint
  readonly pagesSkippedParent: bigint
  readonly pagesWritten: bigint
  readonly pagesLazy: bigint
}

/** The one message of stats-dump. */
export interface StatsEntry {
  readonly dump?: DumpStatsEntry
}

/** First message of a pagemap. */
export interface PagemapHead {
  readonly pagesId: number
}

/** Message types by their name in proto/. */
export interface Messages {
  readonly pagemap_head: PagemapHead
  readonly mm_entry: MmEntry
  readonly file_entry: FileEntry
  readonly pstree_entry: PstreeEntry
  readonly inventory_entry: InventoryEntry
  readonly stats_entry: StatsEntry
}

/** A pagemap entry as it is written, with numbers alone: a page-aligned address below 2^64 is exact in one. */
export interface PagemapEntryFields {
  vaddr: number
  compatNrPages: number
  flags: number
  nrPages: number
}

/** A 64-bit integer as two halves; `low` and `high` may come signed. */
export interface Halves {
  readonly low: number
  readonly high: number
}

/** A pagemap entry as it is read; what the file does not have is undefined. */
export interface RawPagemapEntry {
  readonly vaddr: Halves
  readonly compatNrPages: number
  readonly inParent: boolean | undefined
  readonly flags: number | undefined
  readonly nrPages: Halves | undefined
}
