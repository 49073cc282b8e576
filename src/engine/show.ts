/** What a snapshot holds, as values: for `tidemark show` and for programs. */
import type { Manifest } from '../image/manifest.js'
import { describeVma } from '../image/mm.js'
import { PE_PARENT, PE_PRESENT, type Pagemap } from '../image/pagemap.js'
import { readSnapshot, type SnapshotImages } from '../image/snapshot.js'
import type { DumpStats } from '../image/stats.js'

/** A VMA of a snapshot. */
export interface SnapshotVma {
  /** Addresses in hex, `0x` first; `end` is exclusive. */
  readonly start: string
  readonly end: string
  /** As maps prints them, e.g. `rw-p`. */
  readonly permissions: string
  /** CRIU's VMA_AREA_* names. */
  readonly status: readonly string[]
  /** The mapped file, or empty. */
  readonly file: string
  /** Bytes that the process held here and the pagemap lists. */
  readonly residentBytes: number
  /** Bytes of these that are in this directory's pages file. */
  readonly storedBytes: number
}

/** An entry of the pagemap. */
export interface SnapshotRun {
  /** Address in hex. */
  readonly start: string
  readonly pages: number
  /** `present` here, or in the `parent` images. */
  readonly where: 'present' | 'parent' | 'neither'
}

/** A snapshot as `show` prints it. */
export interface SnapshotSummary {
  readonly imagesDir: string
  /** The pid in the names of the images. */
  readonly pid: number
  readonly threads: readonly number[]
  readonly pageSize: number
  readonly residentBytes: number
  readonly storedBytes: number
  readonly vmas: readonly SnapshotVma[]
  readonly pagemap: readonly SnapshotRun[]
  readonly stats: DumpStats | undefined
  /** Undefined for a directory that CRIU wrote. */
  readonly manifest: Manifest | undefined
}

/** Reads and checks the snapshot in `imagesDir`. Throws `BAD_IMAGE`. */
export function showSnapshot(imagesDir: string): SnapshotSummary {
  const snapshot = readSnapshot(imagesDir)
  snapshot.close()
  const { images } = snapshot
  const vmas = summarizeVmas(images)
  return {
    imagesDir,
    pid: images.pid,
    threads: images.processes[0]?.threads ?? [],
    pageSize: images.pageSize,
    residentBytes: vmas.reduce((sum, vma) => sum + vma.residentBytes, 0),
    storedBytes: vmas.reduce((sum, vma) => sum + vma.storedBytes, 0),
    vmas,
    pagemap: summarizePagemap(images.pagemap, images.pageSize),
    stats: images.stats,
    manifest: images.manifest,
  }
}

function summarizeVmas(images: SnapshotImages): SnapshotVma[] {
  const names = new Map(images.files.map((file) => [file.id, file.reg?.name ?? '']))
  let row = 0
  return images.mm.vmas.map((entry) => {
    const start = Number(entry.start / BigInt(images.pageSize))
    const end = Number(entry.end / BigInt(images.pageSize))
    while (row < images.pagemap.count && rowEnd(images.pagemap, row) <= start) row++
    const counts = countPages(images.pagemap, row, start, end)
    const { permissions, status } = describeVma(entry)
    const isFile = status.some((name) => name.startsWith('VMA_FILE'))
    return {
      start: '0x' + entry.start.toString(16),
      end: '0x' + entry.end.toString(16),
      permissions,
      status,
      file: isFile ? (names.get(Number(entry.shmid)) ?? '') : '',
      residentBytes: counts.listed * images.pageSize,
      storedBytes: counts.present * images.pageSize,
    }
  })
}

/** Pages of [`start`, `end`) that the pagemap lists, and those of them that are here; `row` is the first that may. */
function countPages(
  pagemap: Pagemap,
  row: number,
  start: number,
  end: number,
): { listed: number; present: number } {
  let listed = 0
  let present = 0
  for (let index = row; index < pagemap.count; index++) {
    const first = pagemap.startPage[index] ?? 0
    if (first >= end) break
    const pages = Math.min(end, rowEnd(pagemap, index)) - Math.max(start, first)
    if (pages <= 0) continue
    listed += pages
    if (((pagemap.flags[index] ?? 0) & PE_PRESENT) !== 0) present += pages
  }
  return { listed, present }
}

function summarizePagemap(pagemap: Pagemap, pageSize: number): SnapshotRun[] {
  return Array.from({ length: pagemap.count }, (_, index) => {
    const flags = pagemap.flags[index] ?? 0
    const where = (flags & PE_PRESENT) !== 0 ? 'present' : (flags & PE_PARENT) !== 0 ? 'parent' : 'neither'
    const start = '0x' + ((pagemap.startPage[index] ?? 0) * pageSize).toString(16)
    return { start, pages: pagemap.pageCount[index] ?? 0, where }
  })
}

function rowEnd(pagemap: Pagemap, row: number): number {
  return (pagemap.startPage[row] ?? 0) + (pagemap.pageCount[row] ?? 0)
}
