/**
 * Finds the settings of a dump that suit one process on this machine, by trying them.
 *
 *   warm-up    baseline, not counted
 *   round 1    baseline, 1 worker, shards of 1024, ...     each: prepare, freeze, scan, plan, capture, thaw
 *   round 2    1 worker, shards of 1024, ..., baseline     in turn, so that none has always the same predecessor
 *   ...        medians, a choice
 *
 * Nothing is kept: no images, no tracker, nothing in the target.
 */
import { TidemarkError } from '../errors.js'
import { probeKernel } from '../kernel/features.js'
import { pageSize } from '../kernel/page-size.js'
import { examineTarget, type TargetIdentity } from '../kernel/target.js'
import { settle, throwIfAborted, type DumpOptions, type DumpSettings } from './options.js'
import { chooseSettings, medianSample, type TuneChoice, type TuneTrial } from './tune-choice.js'
import { tuneGrid, type TrialSettings } from './tune-grid.js'
import { runTrial, type TuneSample } from './tune-trial.js'

/** How far a tuning is. */
export interface TuneProgress {
  /** Times that the target has been frozen, and will have been in all. */
  readonly doneFreezes: number
  readonly totalFreezes: number
}

/** Options of a tuning. Those that say how the work is cut up are taken for the baseline. */
export interface TuneOptions extends Pick<DumpOptions, 'pid' | 'maxMemory' | 'timeoutMs'> {
  /** Threads at most; fewer are tried too. Default: the cores available to us. */
  readonly workers?: number
  /** Populated pages that a thread scans at a time. Default: by the target's size, and others are tried. */
  readonly shardPages?: number
  /** Bytes that a thread copies or writes at a time. Default: 1 MiB, and others are tried. */
  readonly bufferSize?: number
  /** Directory in which the memory is also written, in a folder that is removed again. Default: nothing is written. */
  readonly imagesDir?: string
  /** Times that each setting is tried. Default 3. */
  readonly rounds?: number
  /** Milliseconds that the target may stand still each time; past it the tuning fails. Default 5000. */
  readonly maxFrozenMs?: number
  /** Ends the tuning between two steps; while the target stands still it takes effect at the thaw. */
  readonly signal?: AbortSignal
  /** Told before the first freeze and after each. */
  readonly onProgress?: (progress: TuneProgress) => void
}

/** What a tuning found. Times in microseconds. */
export interface TuneResult {
  readonly pid: number
  readonly comm: string
  readonly pageSize: number
  /** Pages that the process held, the median. */
  readonly pages: number
  readonly scanner: string
  readonly rounds: number
  /** Where memory was written; undefined where it was not. */
  readonly imagesDir: string | undefined
  /** Bytes written to the directory in all. */
  readonly writtenBytes: number
  /** The first freeze, by the baseline: everything was cold, so that it counts for nothing but the sums here. */
  readonly warmUp: TuneSample
  /** Times that the target was frozen. */
  readonly freezes: number
  /** How long it stood still in all. */
  readonly frozenUs: number
  readonly longestFrozenUs: number
  /** The baseline first; the others differ from it in one thing each. */
  readonly trials: readonly TuneTrial[]
  readonly choice: TuneChoice
  /** Staging memory that a dump needs in order to write nothing while the target stands; undefined where it had that. */
  readonly maxMemory: number | undefined
  readonly warnings: readonly string[]
}

const ROUNDS = 3
const MAX_ROUNDS = 100
/** What a process may grow by until it is dumped. */
const GROWTH = 1.1
const MIB = 2 ** 20

/**
 * Tries several settings of a dump on a process, which is frozen once for each of them in every round, and tells
 * which are best. Its memory goes nowhere, or into a directory from which it is removed again.
 *
 * @throws TidemarkError with one of the codes of the README's table
 */
export async function tune(options: TuneOptions): Promise<TuneResult> {
  const { rounds = ROUNDS, onProgress = () => undefined, imagesDir, ...rest } = options
  checkRounds(rounds)
  const settings = settle({ ...rest, imagesDir: imagesDir ?? '.', capture: 'copy' }, 'dump')
  throwIfAborted(settings.signal)
  probeKernel()
  const target = examineTarget(settings.pid)
  const { workers, shardPages, bufferSize } = settings
  const vary = { shardPages: options.shardPages === undefined, bufferSize: options.bufferSize === undefined }
  const grid = tuneGrid({ workers, shardPages, bufferSize }, vary)
  const [warmUp, samples] = await runRounds(grid, rounds, onProgress, (trial) =>
    runTrial({ ...settings, ...trial }, target, imagesDir),
  )
  const [baseline, ...others] = grid.map((trial, index) => {
    const own = samples[index] ?? []
    return { ...trial, median: medianSample(own), samples: own }
  })
  if (baseline === undefined) throw new TidemarkError('INTERNAL', 'there was nothing to try')
  return describe(settings, target, { warmUp, baseline, others, rounds, imagesDir })
}

/** A warm-up, and the samples of each trial. Every round begins with another one. */
async function runRounds(
  grid: readonly [TrialSettings, ...TrialSettings[]],
  rounds: number,
  onProgress: (progress: TuneProgress) => void,
  run: (trial: TrialSettings) => Promise<TuneSample>,
): Promise<readonly [warmUp: TuneSample, samples: readonly (readonly TuneSample[])[]]> {
  const [baseline] = grid
  const samples: TuneSample[][] = grid.map(() => [])
  const totalFreezes = grid.length * rounds + 1
  onProgress({ doneFreezes: 0, totalFreezes })
  const warmUp = await run(baseline)
  onProgress({ doneFreezes: 1, totalFreezes })
  for (let done = 0; done < grid.length * rounds; done++) {
    const index = (done + Math.floor(done / grid.length)) % grid.length
    const trial = grid[index]
    if (trial !== undefined) samples[index]?.push(await run(trial))
    onProgress({ doneFreezes: done + 2, totalFreezes })
  }
  return [warmUp, samples]
}

interface Tried {
  readonly warmUp: TuneSample
  readonly baseline: TuneTrial
  readonly others: readonly TuneTrial[]
  readonly rounds: number
  readonly imagesDir: string | undefined
}

function describe(settings: DumpSettings, target: TargetIdentity, tried: Tried): TuneResult {
  const { warmUp, baseline, others, rounds, imagesDir } = tried
  const trials = [baseline, ...others]
  const samples = [warmUp, ...trials.flatMap((trial) => trial.samples)]
  const pages = medianSample(samples).pages
  const needed = Math.max(...samples.map((sample) => (sample.streamedBytes > 0 ? sample.pages : 0)))
  const maxMemory = Math.ceil((needed * pageSize() * GROWTH) / MIB) * MIB
  return {
    pid: target.pid,
    comm: target.comm,
    pageSize: pageSize(),
    pages,
    scanner: probeKernel().pagemapScan ? 'PAGEMAP_SCAN' : '/proc/PID/pagemap',
    rounds,
    imagesDir,
    writtenBytes:
      imagesDir === undefined ? 0 : samples.reduce((sum, sample) => sum + sample.pages * pageSize(), 0),
    warmUp,
    freezes: samples.length,
    frozenUs: samples.reduce((sum, sample) => sum + sample.frozenUs, 0),
    longestFrozenUs: Math.max(...samples.map((sample) => sample.frozenUs)),
    trials,
    choice: chooseSettings(baseline, others),
    maxMemory: needed === 0 ? undefined : maxMemory,
    warnings: findWarnings(settings.maxMemory, tried),
  }
}

/** By how much the target's size may differ between two freezes. */
const UNSTEADY = 1.25

/** By how much the frozen time of the same settings may differ. */
const NOISY = 1.5

/** What keeps the figures from meaning what they seem to. */
function findWarnings(maxMemory: number, { baseline, others, imagesDir }: Tried): string[] {
  const samples = [baseline, ...others].flatMap((trial) => trial.samples)
  const warnings: string[] = []
  if (samples.some((sample) => sample.streamedBytes > 0)) {
    const beyond = `memory beyond --max-memory (${String(maxMemory)} bytes)`
    warnings.push(
      imagesDir === undefined
        ? `${beyond} went nowhere here; a dump writes it while the process stands still`
        : `${beyond} was written while the process stood still`,
    )
  }
  const sizes = samples.map((sample) => sample.pages)
  if (Math.max(...sizes) > UNSTEADY * Math.min(...sizes))
    warnings.push('the process changed its size much meanwhile: not every setting was tried on the same work')
  const times = baseline.samples.map((sample) => sample.frozenUs)
  if (Math.max(...times) > NOISY * Math.min(...times))
    warnings.push(
      'the machine was busy: the same settings took very different times; try again, with more --rounds',
    )
  return warnings
}

function checkRounds(rounds: number): void {
  if (Number.isSafeInteger(rounds) && rounds >= 1 && rounds <= MAX_ROUNDS) return
  throw new TidemarkError(
    'BAD_OPTION',
    `rounds must be a whole number from 1 to ${String(MAX_ROUNDS)}, not ${String(rounds)}`,
    { option: 'rounds' },
  )
}
