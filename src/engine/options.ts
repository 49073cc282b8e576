/** What a caller can ask of a dump, its defaults and bounds. */
import { TidemarkError } from '../errors.js'
import { TRACKER_NAMES, type TrackerName } from '../track/tracker.js'
import { availableCpus, availableMemory, memoryHeadroom } from '../kernel/cgroups.js'
import { pageSize } from '../kernel/page-size.js'

/** What a dump is doing, for a progress bar. Never reported while the target stands still. */
export interface DumpProgress {
  readonly step: 'prepare' | 'write' | 'publish'
  /** Bytes done and in all; 0 of 0 where the step has no measure. */
  readonly doneBytes: number
  readonly totalBytes: number
}

/** How memory is taken: from the standing process, or from the running one after its dirty bits were read and reset. */
export type DumpMode = 'dump' | 'pre-dump'

/** How memory is captured: copied while the process stands, or read from a fork of it while it runs on. */
export type CaptureMethod = 'copy' | 'fork'

/** What to do where the parent's pages cannot be left out. */
export type OnBrokenChain = 'full' | 'fail'

/** Options of a dump. */
export interface DumpOptions {
  /** Process to dump, with all its threads. */
  readonly pid: number
  /** Images directory; made if it is not there. */
  readonly imagesDir: string
  /** Worker threads. Default: the cores available to us, cgroup quotas counted. */
  readonly workers?: number
  /** Populated pages that one thread scans at a time. Default: by the target's size. */
  readonly shardPages?: number
  /**
   * Bytes that one thread copies, compares or writes at a time; a multiple of the page size, at most 64 MiB. Default
   * 1 MiB. Each thread has a buffer of that size beside the staging memory.
   */
  readonly bufferSize?: number
  /**
   * Bytes of staging memory at most. What exceeds it is written while the target stands still. Default: the
   * least of 1 GiB, a quarter of available memory, and a quarter of what our cgroups leave us.
   */
  readonly maxMemory?: number
  /** Milliseconds that the target may stand still; past it the target is let go and the dump fails. Default 5000. */
  readonly maxFrozenMs?: number
  /** Milliseconds in which the target must come to a stand, three tries of 500 ms included. Default 10000. */
  readonly timeoutMs?: number
  /**
   * Copy memory while the process stands, or fork the process and read the fork while it runs on. Default `auto`: what is
   * estimated to be shorter. Where a fork cannot be made, memory is copied, and the result says why.
   */
  readonly capture?: CaptureMethod | 'auto'
  /** Leave the target stopped (SIGSTOP) after a dump that succeeded. Default false. */
  readonly leaveStopped?: boolean
  /** Fail with `INCOMPLETE` where the process has memory that neither the snapshot nor a file holds. Default false. */
  readonly requireComplete?: boolean
  /** Parent images, relative to the images directory: pages that have not changed since are left to them. */
  readonly prevImagesDir?: string
  /** Track changes from this dump on, so that it can be a parent. Default: only where `prevImagesDir` is given. */
  readonly trackMem?: boolean
  /** How changes are found. Default `auto`: the best that works here. */
  readonly tracker?: TrackerName | 'auto'
  /** Where the parent cannot be built on: dump everything, or fail with `BROKEN_CHAIN`. Default `full`. */
  readonly onBrokenChain?: OnBrokenChain
  /** Take CRIU's word that the dirty bits were reset by the parent, its pre-dump, and by nobody since. Default false. */
  readonly trustParent?: boolean
  /** Have the images on the disk before returning. Default true. */
  readonly sync?: boolean
  /** Aborts the dump between two steps; while the target stands still it takes effect at the thaw. */
  readonly signal?: AbortSignal
  /** Told now and then how far the dump is. */
  readonly onProgress?: (progress: DumpProgress) => void
  /** Told, before the process stands still, what will make it stand longer than it need. */
  readonly onWarning?: (warning: string) => void
}

/** What has been done of a dump, in order: after each of them the tool may be killed. */
export const DUMP_STEPS = [
  'directory opened',
  'threads started',
  'surveyed',
  'staging ready',
  'held',
  'tracking begun',
  'scanned',
  'recorded',
  'reset',
  'canary drawn',
  'forked',
  'captured',
  'thawed',
  'looked again',
  'pages finished',
  'pages written',
  'described',
  'published',
] as const

/** One of {@link DUMP_STEPS}. */
export type DumpStep = (typeof DUMP_STEPS)[number]

/** Options with every default filled in. */
export interface DumpSettings {
  readonly pid: number
  readonly imagesDir: string
  readonly workers: number
  readonly shardPages: number | undefined
  readonly bufferSize: number
  readonly maxMemory: number
  readonly maxFrozenMs: number
  readonly timeoutMs: number
  readonly capture: CaptureMethod | 'auto'
  /** Why it is to be copied, where it is. */
  readonly captureWhy: string
  readonly leaveStopped: boolean
  readonly requireComplete: boolean
  readonly mode: DumpMode
  readonly prevImagesDir: string | undefined
  readonly trackMem: boolean
  readonly tracker: TrackerName | 'auto'
  readonly onBrokenChain: OnBrokenChain
  readonly trustParent: boolean
  readonly sync: boolean
  readonly signal: AbortSignal | undefined
  readonly onProgress: (progress: DumpProgress) => void
  readonly onWarning: (warning: string) => void
  /** Called after each step, also while the target stands; for tests of what a death in mid-dump leaves. */
  readonly onStep: (step: DumpStep) => void
}

/** Ways to capture, as they can be asked for. */
export const CAPTURES = ['auto', 'fork', 'copy'] as const

const GIB = 2 ** 30
const MAX_WORKERS = 256
const MAX_PID = 2 ** 22
/** Fits into a core's cache, so that a batch is copied once through it. */
const DEFAULT_BUFFER_BYTES = 2 ** 20
const MAX_BUFFER_BYTES = 2 ** 26

/** Checks `options` and fills in defaults. Throws `BAD_OPTION`, naming the option. */
export function settle(options: DumpOptions, mode: DumpMode): DumpSettings {
  checkWhole('pid', options.pid, 1, MAX_PID)
  if (!isName(options.imagesDir)) {
    throw new TidemarkError('BAD_OPTION', 'the images directory has no name', { option: 'imagesDir' })
  }
  const { workers, shardPages, bufferSize, maxMemory, maxFrozenMs, timeoutMs } = options
  if (workers !== undefined) checkWhole('workers', workers, 1, MAX_WORKERS)
  if (shardPages !== undefined) checkWhole('shardPages', shardPages, 1, 2 ** 31)
  if (bufferSize !== undefined) checkBufferSize(bufferSize)
  if (maxMemory !== undefined) checkWhole('maxMemory', maxMemory, 0, Number.MAX_SAFE_INTEGER)
  if (maxFrozenMs !== undefined) checkWhole('maxFrozenMs', maxFrozenMs, 1, 2 ** 31 - 1)
  if (timeoutMs !== undefined) checkWhole('timeoutMs', timeoutMs, 1, 2 ** 31 - 1)
  const tracker = options.tracker ?? 'auto'
  if (tracker !== 'auto' && !TRACKER_NAMES.includes(tracker)) {
    const known = ['auto', ...TRACKER_NAMES].join(', ')
    throw new TidemarkError('BAD_OPTION', `tracker must be one of ${known}`, { option: 'tracker' })
  }
  const capture = options.capture ?? 'auto'
  if (!CAPTURES.includes(capture)) {
    throw new TidemarkError('BAD_OPTION', `capture must be one of ${CAPTURES.join(', ')}`, {
      option: 'capture',
    })
  }
  if (mode === 'pre-dump' && options.leaveStopped === true) {
    throw new TidemarkError('BAD_OPTION', 'a pre-dump leaves the process running: no --leave-stopped', {
      option: 'leaveStopped',
    })
  }
  if (options.prevImagesDir === '') {
    throw new TidemarkError('BAD_OPTION', 'the parent images directory has no name', {
      option: 'prevImagesDir',
    })
  }
  return {
    mode,
    prevImagesDir: options.prevImagesDir,
    trackMem: (options.trackMem ?? false) || mode === 'pre-dump',
    tracker,
    onBrokenChain: options.onBrokenChain ?? 'full',
    trustParent: options.trustParent ?? false,
    pid: options.pid,
    imagesDir: options.imagesDir,
    workers: workers ?? Math.min(MAX_WORKERS, availableCpus()),
    shardPages,
    bufferSize: bufferSize ?? DEFAULT_BUFFER_BYTES,
    maxMemory: maxMemory ?? Math.floor(Math.min(GIB, availableMemory() / 4, memoryHeadroom(process.pid) / 4)),
    maxFrozenMs: maxFrozenMs ?? 5_000,
    timeoutMs: timeoutMs ?? 10_000,
    capture,
    captureWhy: 'as asked for',
    leaveStopped: options.leaveStopped ?? false,
    requireComplete: options.requireComplete ?? false,
    sync: options.sync ?? true,
    signal: options.signal,
    onProgress: options.onProgress ?? (() => undefined),
    onWarning: options.onWarning ?? (() => undefined),
    onStep: () => undefined,
  }
}

/** Throws `INTERRUPTED` where `signal` has been aborted. */
export function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted !== true) return
  const reason: unknown = signal.reason
  const name = typeof reason === 'string' ? reason : 'abort'
  const text = `interrupted (${name}); nothing was saved, the target runs on`
  throw new TidemarkError(
    'INTERRUPTED',
    text,
    { signal: name },
    typeof reason === 'string' ? undefined : reason,
  )
}

function checkBufferSize(value: number): void {
  const size = pageSize()
  if (value >= size && value <= MAX_BUFFER_BYTES && value % size === 0) return
  throw new TidemarkError(
    'BAD_OPTION',
    `bufferSize (--buffer-size) must be a multiple of the page size, ${String(size)} bytes, and at most ` +
      `${String(MAX_BUFFER_BYTES)}, not ${String(value)}`,
    { option: 'bufferSize' },
  )
}

/** Whether `value` can name a directory. It comes from callers whom no compiler has checked. */
function isName(value: unknown): boolean {
  return typeof value === 'string' && value !== ''
}

function checkWhole(option: string, value: number, least: number, most: number): void {
  if (Number.isSafeInteger(value) && value >= least && value <= most) return
  throw new TidemarkError(
    'BAD_OPTION',
    `${option} must be a whole number from ${String(least)} to ${String(most)}, not ${String(value)}`,
    { option },
  )
}
