/** A VMA of a snapshot in the words that are used for one of a process, as far as the images tell. */
import type { StoreClass } from '../core/fate.js'
import type { VmaEntry } from '../image/messages.js'
import { describeVma } from '../image/mm.js'
import type { SnapshotImages } from '../image/snapshot.js'

/** Its range, permissions and name; and what became of its pages. */
export interface DescribedVma {
  readonly vma: string
  readonly fate: string
}

/** Names of areas, by their status. */
const AREA_NAMES: Readonly<Record<string, string>> = {
  VMA_AREA_HEAP: '[heap]',
  VMA_AREA_VDSO: '[vdso]',
  VMA_AREA_VVAR: '[vvar]',
  VMA_AREA_VSYSCALL: '[vsyscall]',
  VMA_AREA_AIORING: '/[aio]',
}

/** What became of an area's pages, by its status; the first that applies. */
const STORE_CLASSES: readonly (readonly [status: string, store: StoreClass])[] = [
  ['VMA_AREA_VDSO', 'whole'],
  ['VMA_AREA_AIORING', 'whole'],
  ['VMA_AREA_VVAR', 'none'],
  ['VMA_AREA_VSYSCALL', 'none'],
  ['VMA_AREA_GUARD', 'none'],
  ['VMA_FILE_PRIVATE', 'file-private'],
  ['VMA_ANON_PRIVATE', 'anonymous'],
]

/** Describes the VMA that holds `address`; undefined where none does. */
export function describeStoredVma(images: SnapshotImages, address: bigint): DescribedVma | undefined {
  const entry = images.mm.vmas.find(({ start, end }) => start <= address && address < end)
  if (entry === undefined) return undefined
  const { permissions, flags, status } = describeVma(entry)
  const range = `${hex(entry.start)}-${hex(entry.end)}`
  const store = flags.includes('DROPPABLE')
    ? 'none'
    : (STORE_CLASSES.find(([name]) => status.includes(name))?.[1] ?? 'none')
  const missing = images.manifest?.missing.find(
    ({ start, end }) => BigInt(start) <= address && address < BigInt(end),
  )
  return {
    vma: `${range} ${permissions} ${nameOf(images, entry, status)}`.trimEnd(),
    fate: missing === undefined ? store : `${store} (${missing.reason})`,
  }
}

function nameOf({ files, mm }: SnapshotImages, entry: VmaEntry, status: readonly string[]): string {
  if (status.some((name) => name.startsWith('VMA_FILE')))
    return files.find((file) => file.id === Number(entry.shmid))?.reg?.name ?? ''
  const area = status.map((name) => AREA_NAMES[name]).find((name) => name !== undefined)
  if (area !== undefined) return area
  return entry.start <= mm.mmStartStack && mm.mmStartStack < entry.end ? '[stack]' : ''
}

function hex(address: bigint): string {
  return '0x' + address.toString(16)
}
