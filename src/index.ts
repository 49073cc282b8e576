/**
 * Tidemark as a library: memory snapshots of live Linux processes in CRIU's image format.
 *
 * ```ts
 * import { dump } from 'tidemark'
 * const result = await dump({ pid: 4242, imagesDir: '/var/snapshots/1' })
 * ```
 */
export { dump, preDump } from './engine/dump.js'
export type { CaptureMethod, DumpMode, DumpOptions, DumpProgress, OnBrokenChain } from './engine/options.js'
export type { CaptureChoice } from './engine/capture-choice.js'
export type { DumpResult, FrozenSteps, WallTimes, WindowSteps, WorkerShare } from './engine/result.js'
export type { MissingRange, MissingReason } from './core/fate.js'
export {
  codeOf,
  EXIT_STATUS,
  isTidemarkError,
  TidemarkError,
  type ErrorCode,
  type ErrorDetails,
} from './errors.js'
export { showSnapshot, type SnapshotRun, type SnapshotSummary, type SnapshotVma } from './engine/show.js'
export {
  verify,
  type CompareOptions,
  type Comparison,
  type Verification,
  type VerifiedLink,
} from './engine/verify.js'
export { tune, type TuneOptions, type TuneProgress, type TuneResult } from './engine/tune.js'
export type { TuneChoice, TuneGain, TuneTrial } from './engine/tune-choice.js'
export type { TrialSettings, Varied, WorkSettings } from './engine/tune-grid.js'
export type { TuneSample } from './engine/tune-trial.js'
export { untrack, type Untracked } from './engine/untrack.js'
export { explainProcessPage, explainSnapshotPage, type PageExplanation } from './engine/explain.js'
export { checkSystem, type CheckRow } from './engine/check.js'
export { VERSION } from './engine/version.js'
export { readSnapshot, type Snapshot, type SnapshotImages } from './image/snapshot.js'
export type {
  ImageFile,
  Manifest,
  MissingMemory,
  SnapshotCounts,
  SnapshotParent,
  SnapshotTarget,
} from './image/manifest.js'
export type {
  AioRingEntry,
  FileEntry,
  FownEntry,
  MmEntry,
  PstreeEntry,
  RegFileEntry,
  VmaEntry,
} from './image/messages.js'
export type { Pagemap } from './image/pagemap.js'
export type { DumpStats } from './image/stats.js'
export type { PageFacts } from './kernel/pagemap-source.js'
