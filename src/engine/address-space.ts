/**
 * The target's address space as it is now: which VMA, first hop of a page's way.
 *
 * It is read twice: before the freeze with all its flags (smaps takes long), and while the target stands
 * still, when most often not a byte of maps has changed and nothing is parsed again.
 */
import { needsFlags } from '../core/fate.js'
import { buildSegments, type Segments } from '../core/segments.js'
import type { Vma } from '../core/vma.js'
import type { KernelFeatures } from '../kernel/features.js'
import { addVmFlags, parseMaps, reuseVmFlags } from '../kernel/maps-text.js'
import { pageSize } from '../kernel/page-size.js'
import { readProc, targetDied } from '../kernel/procfs.js'
import type { TargetIdentity } from '../kernel/target.js'

/** VMAs and what follows from them. */
export interface AddressSpace {
  /** The bytes of maps that `vmas` were parsed from. */
  readonly mapsText: Buffer
  readonly vmas: readonly Vma[]
  readonly segments: Segments
}

/** The VMAs of thread `tid`, without flags; none where it is gone. */
export function readVmas(tid: number): Vma[] {
  return parseMaps(readProc(`/proc/${String(tid)}/maps`) ?? Buffer.alloc(0), pageSize())
}

/** Reads maps and smaps. */
export function readAddressSpace(target: TargetIdentity, features: KernelFeatures): AddressSpace {
  const mapsText = readMaps(target)
  const vmas = addVmFlags(parseMaps(mapsText, pageSize()), readOrDie(target, 'smaps'), pageSize())
  return { mapsText, vmas, segments: buildSegments(vmas, features.pagemapScan) }
}

/**
 * Reads maps again, and smaps only where a changed line maps a file, which could be a device, or where there is
 * droppable memory.
 *
 * New anonymous memory is taken as ordinary without its flags; {@link completeFlags} fills them in later.
 */
export function rereadAddressSpace(
  target: TargetIdentity,
  features: KernelFeatures,
  before: AddressSpace,
): AddressSpace {
  const mapsText = readMaps(target)
  const isKnown = mapsText.equals(before.mapsText)
  // Droppable memory is not stored, and what takes its place may look the same in maps.
  if (isKnown && !before.vmas.some(({ flags }) => flags?.has('dp') === true)) return before
  if (isKnown) return readAddressSpace(target, features)
  let vmas = reuseVmFlags(parseMaps(mapsText, pageSize()), before.vmas)
  if (vmas.some(needsFlags)) vmas = addVmFlags(vmas, readOrDie(target, 'smaps'), pageSize())
  return { mapsText, vmas, segments: buildSegments(vmas, features.pagemapScan) }
}

/** `vmas` with the flags that were not read while the target stood still, as far as those VMAs are still there. */
export function completeFlags(target: TargetIdentity, vmas: readonly Vma[]): readonly Vma[] {
  if (vmas.every((vma) => vma.flags !== undefined)) return vmas
  const smaps = readProc(`/proc/${String(target.tid)}/smaps`)
  if (smaps === undefined) return vmas
  const now = addVmFlags(parseMaps(readMaps(target), pageSize()), smaps, pageSize())
  const known = reuseVmFlags(vmas, now)
  return vmas.map((vma, index) => (vma.flags === undefined ? (known[index] ?? vma) : vma))
}

function readMaps(target: TargetIdentity): Buffer {
  return readOrDie(target, 'maps')
}

function readOrDie(target: TargetIdentity, file: 'maps' | 'smaps'): Buffer {
  const text = readProc(`/proc/${String(target.tid)}/${file}`)
  if (text === undefined || text.length === 0) throw targetDied(target.pid)
  return text
}
