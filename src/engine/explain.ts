/**
 * The seven facts of one page, in the order of its way through a dump, found by the functions that dump it:
 * its VMA, its shard, its bits, its run, its place in the pages file, its bytes, its pagemap entry.
 */
import { testBit } from '../core/bitmap.js'
import { chunkDirectory, slotOfPage, type ChunkDirectory } from '../core/chunks.js'
import { vmaFate } from '../core/fate.js'
import { planDump, runOfPage, type DumpPlan } from '../core/plan.js'
import type { Segments } from '../core/segments.js'
import { findVma, vmaPermissions, type Vma } from '../core/vma.js'
import { TidemarkError } from '../errors.js'
import { entryOffsets, entryOfPage, PE_PARENT, PE_PRESENT } from '../image/pagemap.js'
import { readSnapshot, type Snapshot } from '../image/snapshot.js'
import { availableCpus } from '../kernel/cgroups.js'
import { probeKernel, type KernelFeatures } from '../kernel/features.js'
import { openPagemap } from '../kernel/open-pagemap.js'
import { pageSize } from '../kernel/page-size.js'
import type { PageFacts } from '../kernel/pagemap-source.js'
import { examineTarget, type TargetIdentity } from '../kernel/target.js'
import { TargetMemory } from '../kernel/target-memory.js'
import { allocateControl, CREW } from '../tasks/control.js'
import { runJob } from '../tasks/run-job.js'
import { readAddressSpace } from './address-space.js'
import { scanTarget, type Scanned } from './scan-target.js'
import { describeStoredVma } from './stored-vma.js'
import { chunkWeights } from './survey.js'

/** What a dump does, or did, with one page. Undefined facts do not apply. */
export interface PageExplanation {
  /** Address of the page, in hex. */
  readonly vaddr: string
  /** 1. The VMA that holds it. */
  readonly vma: string | undefined
  /** What becomes of that VMA's pages. */
  readonly fate: string | undefined
  /** 2. The shard that looks at it, of how many. Undefined for a snapshot. */
  readonly shard: { readonly index: number; readonly count: number } | undefined
  /** 3. What the kernel says of it. Undefined for a snapshot. */
  readonly bits: PageFacts | undefined
  /** Whether its bit in the bitmap of present pages is set; for a snapshot, whether the pagemap lists it. */
  readonly stored: boolean
  /** 4. The run that it is in. */
  readonly run: { readonly index: number; readonly start: string; readonly pages: number } | undefined
  /** 5. Where it is in the pages file, in bytes. */
  readonly pagesOffset: number | undefined
  /** 6. Its first bytes, in hex. */
  readonly bytes: string | undefined
  /** 7. The pagemap entry that names it. */
  readonly entry: { readonly vaddr: string; readonly pages: number; readonly where: string } | undefined
}

const SHOWN_BYTES = 16

/**
 * Explains the page at address `vaddr` of a running process. The process is not stopped: a busy page may
 * have changed when you read this.
 */
export function explainProcessPage(pid: number, vaddr: number): PageExplanation {
  const features = probeKernel()
  const target = examineTarget(pid)
  const page = pageAt(vaddr, pageSize())
  const { vmas, segments } = readAddressSpace(target, features)
  const vma = vmas[findVma(vmas, page)]
  const source = openPagemap(target.tid, features, 'all')
  const memory = new TargetMemory(pid, target.tid)
  try {
    const { chunks, shards, present } = scanHere(target, features, segments)
    const slot = slotOfPage(chunks, page)
    const stored = slot >= 0 && testBit(present, slot)
    const shard = slot < 0 ? -1 : shards.endSlot.findIndex((end) => slot < end)
    const bits = vma === undefined || vma.path === '[vsyscall]' ? undefined : source.describe(page)
    // The process runs: to read what is not there would change it, or wait for its own fault handler.
    const isSafe = stored && bits?.present === true
    return {
      vaddr: hexOf(page, pageSize()),
      ...describeLiveVma(vma),
      shard: shard < 0 ? undefined : { index: shard, count: shards.count },
      bits,
      stored,
      ...planFacts(planDump(chunks, present), page),
      bytes: isSafe ? memory.readBytes(page * pageSize(), SHOWN_BYTES)?.toString('hex') : undefined,
    }
  } finally {
    memory.close()
    source.close()
  }
}

/** The dump's scan, all of it on this thread. The second look has the shards that a dump would have. */
function scanHere(target: TargetIdentity, features: KernelFeatures, segments: Segments): Scanned {
  const scan = (chunks: ChunkDirectory, weights: Int32Array): Scanned =>
    scanTarget({
      target,
      features,
      dirtyBit: 'all',
      segments,
      chunks,
      weights,
      shardPages: undefined,
      workers: availableCpus(),
      frozen: false,
      run: (job) => [runJob(job, allocateControl(CREW.words), 0)],
    })
  const first = scan(chunkDirectory([]), new Int32Array(0))
  return scan(first.chunks, chunkWeights(first.present, first.chunks.count))
}

/** Explains the page at address `vaddr` of the snapshot in `imagesDir`. Throws `BAD_IMAGE`. */
export function explainSnapshotPage(imagesDir: string, vaddr: number): PageExplanation {
  const snapshot = readSnapshot(imagesDir)
  try {
    return explainStored(snapshot, pageAt(vaddr, snapshot.images.pageSize))
  } finally {
    snapshot.close()
  }
}

function explainStored(snapshot: Snapshot, page: number): PageExplanation {
  const { pagemap, pageSize: size } = snapshot.images
  const described = describeStoredVma(snapshot.images, BigInt(page) * BigInt(size))
  const row = entryOfPage(pagemap, page)
  const flags = pagemap.flags[row] ?? 0
  const start = pagemap.startPage[row] ?? 0
  const pages = pagemap.pageCount[row] ?? 0
  const present = (flags & PE_PRESENT) !== 0
  const offset = ((entryOffsets(pagemap)[row] ?? 0) + page - start) * size
  const entry =
    row < 0
      ? undefined
      : { vaddr: hexOf(start, size), pages, where: present ? 'present' : parentOrNot(flags) }
  return {
    vaddr: hexOf(page, size),
    vma: described?.vma,
    fate: described?.fate,
    shard: undefined,
    bits: undefined,
    stored: row >= 0,
    run: row < 0 ? undefined : { index: row, start: hexOf(start, size), pages },
    pagesOffset: present ? offset : undefined,
    bytes: Buffer.from(snapshot.readPage(page)?.subarray(0, SHOWN_BYTES) ?? []).toString('hex') || undefined,
    entry,
  }
}

function describeLiveVma(vma: Vma | undefined): Pick<PageExplanation, 'vma' | 'fate'> {
  if (vma === undefined) return { vma: undefined, fate: undefined }
  const { store, missing } = vmaFate(vma)
  const range = `${hexOf(vma.startPage, pageSize())}-${hexOf(vma.endPage, pageSize())}`
  return {
    vma: `${range} ${vmaPermissions(vma)} ${vma.path}`.trimEnd(),
    fate: missing === undefined ? store : `${store} (${missing})`,
  }
}

function planFacts(plan: DumpPlan, page: number): Pick<PageExplanation, 'run' | 'pagesOffset' | 'entry'> {
  const index = runOfPage(plan, page)
  if (index < 0) return { run: undefined, pagesOffset: undefined, entry: undefined }
  const startPage = plan.startPage[index] ?? 0
  const offset = plan.offsetPages[index] ?? 0
  const pages = (plan.offsetPages[index + 1] ?? 0) - offset
  const start = hexOf(startPage, pageSize())
  return {
    run: { index, start, pages },
    pagesOffset: (offset + page - startPage) * pageSize(),
    entry: { vaddr: start, pages, where: 'present' },
  }
}

function pageAt(vaddr: number, size: number): number {
  // Above 2^53 a number is exact to less than a page.
  if (vaddr >= 0 && vaddr < 2 ** 64) return Math.floor(vaddr / size)
  throw new TidemarkError('BAD_OPTION', 'vaddr must be an address', { option: 'vaddr' })
}

function parentOrNot(flags: number): string {
  return (flags & PE_PARENT) === 0 ? 'neither' : 'parent'
}

function hexOf(page: number, size: number): string {
  return hex(BigInt(page) * BigInt(size))
}

function hex(address: bigint): string {
  return '0x' + address.toString(16)
}
