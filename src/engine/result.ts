/** What a dump tells of itself: the same numbers on the terminal, in --json, and in tidemark.json. */
import type { MissingRange } from '../core/fate.js'
import type { TrackerName } from '../track/tracker.js'
import type { CaptureChoice } from './capture-choice.js'
import type { DumpMode } from './options.js'
import type { JobReport } from '../tasks/jobs.js'

/** Microseconds of each step between the stand and the thaw. */
export interface WindowSteps {
  /** The target is still itself, and nobody else writes to its memory. */
  readonly checksUs: number
  readonly mapsUs: number
  /** The fork made; 0 where memory was copied. */
  readonly forkUs: number
  /** Tracking begun where it was not yet. */
  readonly prepareUs: number
  readonly scanUs: number
  readonly planUs: number
  readonly captureUs: number
  /** Next interval begun: recorded, registered, protected or cleared. */
  readonly resetUs: number
}

/** Where the target's time went while it stood still, in microseconds. */
export interface FrozenSteps extends WindowSteps {
  /** From the first PTRACE_INTERRUPT until every thread stood. */
  readonly seizeUs: number
  /** Facts of the process for the images read, and every thread let go. */
  readonly thawUs: number
}

/** Where the user's time went, in microseconds. */
export interface WallTimes {
  /** Until all threads were there. */
  readonly startUs: number
  /** Everything else before the freeze: target surveyed, memory faulted in. */
  readonly prepareUs: number
  /** The target stood still. */
  readonly frozenUs: number
  /** Writing the images after the thaw. */
  readonly writeUs: number
  /** Sizes checked, synced to the disk, renamed. */
  readonly publishUs: number
  readonly totalUs: number
}

/** One thread's share of the work. */
export interface WorkerShare {
  readonly scannedPages: number
  readonly scanUs: number
  readonly copiedPages: number
  readonly copyUs: number
  readonly writtenPages: number
  readonly writeUs: number
}

/** The result of a dump. */
export interface DumpResult {
  readonly imagesDir: string
  readonly snapshotId: string
  readonly pid: number
  readonly nsPid: number
  readonly comm: string
  readonly threads: number
  readonly vmas: number
  readonly pageSize: number
  /** Pages that the process holds and a snapshot must have. */
  readonly pagesScanned: number
  readonly pagesStored: number
  /** Holes: pages whose content is in the parent images. */
  readonly pagesInParent: number
  /** Pages that were clean by the tracker and that the parent lacked: stored. */
  readonly cleanNotInParent: number
  /** Pages of a pre-dump that were gone before they could be copied. */
  readonly pagesGone: number
  readonly kind: DumpMode
  /** How memory was captured, and why so. */
  readonly capture: CaptureChoice
  /** The parent images, as the link in the images directory says; undefined for a full dump. */
  readonly parent: string | undefined
  /** What watches the process from now on, and why that; undefined where nothing does. */
  readonly tracker: { readonly name: TrackerName; readonly why: string } | undefined
  /** Why the dump is full though a parent was given; empty where it is not. */
  readonly fullBecause: string
  readonly bytesStored: number
  /** Ranges of consecutive pages. */
  readonly runs: number
  readonly guardPages: number
  /** Pages that are there but that nobody can read: poisoned ones, and guard pages of Linux 6.13 and 6.14. */
  readonly unreadablePages: number
  /** Pages behind a protection that forbids reading. */
  readonly forcedPages: number
  /** Bytes of staging memory that were in use. */
  readonly stagedBytes: number
  /** Bytes beyond the staging memory, written while the target stood still. */
  readonly streamedBytes: number
  /** Whether every byte of memory is in the snapshot or in a file. */
  readonly complete: boolean
  readonly missing: readonly MissingRange[]
  readonly warnings: readonly string[]
  readonly scanner: string
  readonly frozen: FrozenSteps
  readonly wall: WallTimes
  readonly workers: readonly WorkerShare[]
}

/** Each thread's share, from its reports of the phases. */
export function workerShares(
  scans: readonly JobReport[],
  copies: readonly JobReport[],
  forkCopies: readonly JobReport[],
  writes: readonly JobReport[],
): WorkerShare[] {
  const sum = (thread: number, count: 'pages' | 'micros' | 'streamedPages'): number =>
    (copies[thread]?.[count] ?? 0) + (forkCopies[thread]?.[count] ?? 0)
  return scans.map((scan, thread) => ({
    scannedPages: scan.pages,
    scanUs: scan.micros,
    copiedPages: sum(thread, 'pages'),
    copyUs: sum(thread, 'micros'),
    writtenPages: (writes[thread]?.pages ?? 0) + sum(thread, 'streamedPages'),
    writeUs: writes[thread]?.micros ?? 0,
  }))
}

/** The sum of one count over `reports`. */
export function sumOf(
  reports: readonly JobReport[],
  count: 'pages' | 'forcedPages' | 'streamedPages',
): number {
  return reports.reduce((sum, report) => sum + report[count], 0)
}

/** Pages that are there but cannot be read, over all threads. */
export function countUnreadable(reports: readonly JobReport[]): number {
  return reports.reduce((sum, report) => sum + report.unreadable.length, 0)
}
