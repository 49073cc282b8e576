/** Writes all images of a snapshot but the pages: what the process is, where its pages lie, and the marker. */
import { readFileSync, statSync } from 'node:fs'
import { countPages } from '../core/page-runs.js'
import { planPages } from '../core/plan.js'
import type { Vma } from '../core/vma.js'
import { collectFiles, type FileIdentity } from '../image/files.js'
import { encodeFiles } from '../image/files.js'
import type { ImagesDirectory } from '../image/images-dir.js'
import { encodeInventory, PRE_DUMP_MODE } from '../image/inventory.js'
import {
  encodeManifest,
  FORMAT_VERSION,
  MANIFEST_NAME,
  type ImageFile,
  type Manifest,
} from '../image/manifest.js'
import { encodeMm, type GuardRange, type MmFacts } from '../image/mm.js'
import { encodePagemap } from '../image/pagemap.js'
import { encodePstree } from '../image/pstree.js'
import { encodeDumpStats, type DumpStats } from '../image/stats.js'
import { pageSize } from '../kernel/page-size.js'
import {
  lastNumber,
  readAuxv,
  readBootId,
  readStatus,
  targetDied,
  type ProcessStat,
} from '../kernel/procfs.js'
import type { TargetIdentity } from '../kernel/target.js'
import type { JobReport } from '../tasks/jobs.js'
import type { Captured } from './frozen-window.js'
import type { DumpMode } from './options.js'

/** The N of pages-N.img: one process, one pages file. */
const PAGES_ID = 1
/** Name of the pages file. */
export const PAGES_NAME = `pages-${String(PAGES_ID)}.img`

/** What the target is, read before or while it stood still. */
export interface TargetFacts {
  readonly target: TargetIdentity
  readonly auxv: readonly bigint[]
  /** Ids of its threads in its own pid namespace, the main thread first. */
  readonly threads: readonly number[]
  /** In microseconds since boot, when the target stood still. */
  readonly uptimeUs: bigint
}

/** Reads what the images say of the target beside its memory. */
export function readTargetFacts(
  target: TargetIdentity,
  tids: readonly number[],
  uptimeUs: bigint,
): TargetFacts {
  const outer = target.nsPid === target.pid
  const inner = tids.map((tid) =>
    outer ? tid : (lastNumber(readStatus(target.pid, tid)?.get('NSpid')) ?? tid),
  )
  const others = inner.filter((tid) => tid !== target.nsPid).sort((a, b) => a - b)
  const auxv = readAuxv(target.tid)
  if (auxv.length === 0) throw targetDied(target.pid)
  return { target, auxv, threads: [target.nsPid, ...others], uptimeUs }
}

/** Microseconds since boot. */
export function uptimeMicros(): bigint {
  const seconds = readFileSync('/proc/uptime', 'latin1').split(' ')[0] ?? '0'
  return BigInt(Math.round(Number(seconds) * 1e6))
}

/** Writes the images but pages-N.img and stats-dump; returns their names and sizes. */
export function writeImages(
  images: ImagesDirectory,
  facts: TargetFacts,
  captured: Captured,
  vmas: readonly Vma[],
  mode: DumpMode,
): ImageFile[] {
  const { target } = facts
  const id = String(target.nsPid)
  const files = collectFiles(exeIdentity(target), vmas)
  const guards = mergeGuards(captured.scanReports)
  const write = (name: string, bytes: Uint8Array): ImageFile => ({
    name,
    bytes: images.writeFile(name, [bytes]),
  })
  return [
    write(`pagemap-${id}.img`, encodePagemap(captured.plan, pageSize(), PAGES_ID)),
    write(
      `mm-${id}.img`,
      encodeMm(vmas, mmFacts(captured.stat, vmas, facts.auxv), files, pageSize(), guards),
    ),
    write('files.img', encodeFiles(files)),
    write('pstree.img', encodePstree([processEntry(facts, captured)])),
    write(
      'inventory.img',
      encodeInventory({
        dumpUptimeUs: facts.uptimeUs,
        ...(mode === 'pre-dump' ? { preDumpMode: PRE_DUMP_MODE.READ } : {}),
      }),
    ),
  ]
}

/** Writes stats-dump. */
export function writeStats(images: ImagesDirectory, stats: DumpStats): ImageFile {
  return { name: 'stats-dump', bytes: images.writeFile('stats-dump', [encodeDumpStats(stats)]) }
}

/** Writes the marker; `files` is every other file of the snapshot. */
export function writeManifest(
  images: ImagesDirectory,
  facts: TargetFacts,
  captured: Captured,
  rest: Pick<
    Manifest,
    'snapshotId' | 'kind' | 'parent' | 'tracker' | 'files' | 'warnings' | 'stats' | 'tidemarkVersion'
  >,
): void {
  const { target } = facts
  const size = pageSize()
  const pages = planPages(captured.plan)
  const hex = (page: number): string => '0x' + (page * size).toString(16)
  const manifest: Manifest = {
    formatVersion: FORMAT_VERSION,
    tidemarkVersion: rest.tidemarkVersion,
    snapshotId: rest.snapshotId,
    kind: rest.kind,
    parent: rest.parent,
    tracker: rest.tracker,
    fullBecause: captured.fullBecause,
    createdAt: new Date().toISOString(),
    pageSize: size,
    target: {
      pid: target.pid,
      nsPid: target.nsPid,
      startTimeTicks: target.startTimeTicks,
      bootId: readBootId(),
      exe: target.exe,
      comm: target.comm,
      auxRandom: target.auxRandom,
      threads: facts.threads.length,
    },
    pagesId: PAGES_ID,
    counts: {
      vmas: captured.space.vmas.length,
      pagesScanned: captured.pagesScanned,
      pagesStored: pages,
      pagesInParent: countPages(captured.plan.holes),
      cleanNotInParent: captured.cleanNotInParent,
      runs: captured.plan.runCount + captured.plan.holes.count,
      bytesStored: pages * size,
    },
    files: rest.files,
    complete: captured.missing.length === 0,
    missing: captured.missing.map(({ reason, startPage, endPage, pages: count, path }) => ({
      reason,
      start: hex(startPage),
      end: hex(endPage),
      path,
      pages: count,
    })),
    warnings: rest.warnings,
    stats: rest.stats,
  }
  images.writeFile(MANIFEST_NAME, [encodeManifest(manifest)])
}

/** All guard ranges of all threads, in address order, neighbours joined. */
export function mergeGuards(reports: readonly JobReport[]): GuardRange[] {
  const ranges: { startPage: number; endPage: number }[] = []
  for (const { guards } of reports) {
    for (let index = 0; index + 1 < guards.length; index += 2) {
      ranges.push({ startPage: guards[index] ?? 0, endPage: guards[index + 1] ?? 0 })
    }
  }
  ranges.sort((a, b) => a.startPage - b.startPage)
  const merged: { startPage: number; endPage: number }[] = []
  for (const range of ranges) {
    const last = merged.at(-1)
    if (last?.endPage === range.startPage) last.endPage = range.endPage
    else merged.push(range)
  }
  return merged
}

function processEntry(facts: TargetFacts, { stat, status }: Captured) {
  return {
    pid: facts.target.nsPid,
    // The root of a tree has no parent in the images.
    ppid: 0,
    pgid: lastNumber(status.get('NSpgid')) ?? stat.pgid,
    sid: lastNumber(status.get('NSsid')) ?? stat.sid,
    threads: facts.threads,
  }
}

function mmFacts(stat: ProcessStat, vmas: readonly Vma[], auxv: readonly bigint[]): MmFacts {
  const heap = vmas.find((vma) => vma.path === '[heap]')
  const { startCode, endCode, startData, endData, startStack, startBrk, argStart, argEnd, envStart, envEnd } =
    stat
  return {
    startCode,
    endCode,
    startData,
    endData,
    startStack,
    startBrk,
    brk: heap === undefined ? startBrk : heap.endPage * pageSize(),
    argStart,
    argEnd,
    envStart,
    envEnd,
    auxv,
    exeFileId: 1,
  }
}

/** Device and inode of the executable, as maps would print them. */
function exeIdentity(target: TargetIdentity): FileIdentity {
  try {
    const { dev, ino } = statSync(`/proc/${String(target.tid)}/exe`)
    // source: include/linux/kdev_t.h new_encode_dev, as stat(2) returns it
    const devMajor = Math.floor(dev / 256) % 4096
    const devMinor = (dev % 256) + Math.floor(dev / 2 ** 20) * 256
    return { devMajor, devMinor, inode: ino, path: target.exe }
  } catch {
    return { devMajor: 0, devMinor: 0, inode: 0, path: target.exe }
  }
}
