/**
 * Which settings a tuning tries: a baseline, and others that differ from it in one thing each.
 *
 *   baseline         4 workers, shards by size, 1 MiB
 *   workers          1, 2                        powers of two below the baseline's
 *   shardPages       1024, 8192, 65536
 *   bufferSize       64 KiB, 256 KiB, 4 MiB
 *
 * Not the full product: the three act on different steps (all, scan, capture and write), and each trial
 * freezes the target once a round.
 */

/** How the work of a dump is cut up. */
export interface WorkSettings {
  readonly workers: number
  /** Undefined: by the target's size. */
  readonly shardPages: number | undefined
  readonly bufferSize: number
}

/** What a trial differs in from the baseline. */
export type Varied = 'nothing' | 'workers' | 'shardPages' | 'bufferSize'

/** One setting to try. */
export interface TrialSettings extends WorkSettings {
  readonly varied: Varied
}

const SHARD_PAGES = [2 ** 10, 2 ** 13, 2 ** 16] as const
const BUFFER_BYTES = [2 ** 16, 2 ** 18, 2 ** 22] as const

/**
 * The settings to try: `baseline` first.
 *
 * @param vary - what may be varied; what the caller has set stays as it is. Fewer workers are always tried.
 */
export function tuneGrid(
  baseline: WorkSettings,
  vary: { readonly shardPages: boolean; readonly bufferSize: boolean },
): readonly [TrialSettings, ...TrialSettings[]] {
  const shards = vary.shardPages ? SHARD_PAGES : []
  const buffers = vary.bufferSize ? BUFFER_BYTES.filter((bytes) => bytes !== baseline.bufferSize) : []
  return [
    { ...baseline, varied: 'nothing' },
    ...fewerWorkers(baseline.workers).map(
      (workers) => ({ ...baseline, workers, varied: 'workers' }) as const,
    ),
    ...shards.map((shardPages) => ({ ...baseline, shardPages, varied: 'shardPages' }) as const),
    ...buffers.map((bufferSize) => ({ ...baseline, bufferSize, varied: 'bufferSize' }) as const),
  ]
}

function fewerWorkers(most: number): number[] {
  const counts: number[] = []
  for (let workers = 1; workers < most; workers *= 2) counts.push(workers)
  return counts
}
