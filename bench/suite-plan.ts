/** What the options ask to measure: full dumps of shapes, and increments. A value, so that it can be listed first. */
import { availableParallelism } from 'node:os'
import { probeAsyncProtect } from '../src/kernel/async-protect.js'
import { probeKernel } from '../src/kernel/features.js'
import { TRACKER_NAMES, type TrackerName } from '../src/track/tracker.js'
import { AIM_PATTERN, AIM_RATIOS, AIM_SHAPES } from './aims.js'
import { tidemark, type Candidate, type Capture } from './candidates.js'
import { estimateSeconds } from './estimate.js'
import { countDumps, type IncrementPlan } from './increments.js'
import { peersFrom } from './peers.js'
import { SHAPES, shapeNamed, stagingFor, type Shape } from './shapes.js'
import { isSelected, type SuiteOptions } from './suite-options.js'

/** One shape, to one file system. */
export interface FullPlan {
  readonly shape: Shape
  readonly parent: string
  readonly candidates: readonly Candidate[]
}

/** All that is measured. */
export interface SuitePlan {
  readonly full: readonly FullPlan[]
  readonly increments: readonly IncrementPlan[]
}

const RATIOS = [0.001, 0.01, 0.1, 1]

/** The plan for `options`. */
export function planSuite(options: SuiteOptions): SuitePlan {
  return {
    full: options.increments ? [] : planFull(options),
    increments: planIncrements(options),
  }
}

/** Seconds that `plan` takes on an idle machine, about. */
export function estimatePlan({ full, increments }: SuitePlan, runs: number): number {
  const fullSeconds = full.map(({ shape, candidates }) =>
    estimateSeconds(
      shape,
      candidates.map(({ maker }) => maker),
      runs,
    ),
  )
  // A chain's full dump is a small part of it, and an increment takes about half as long as a full dump.
  const incrementSeconds = increments.map((plan) =>
    estimateSeconds(plan.shape, ['tidemark'], countDumps(plan) / 2),
  )
  return [...fullSeconds, ...incrementSeconds].reduce((sum, seconds) => sum + seconds, 0)
}

/** A line for each thing that `plan` measures. */
export function listPlan({ full, increments }: SuitePlan): string[] {
  return [
    ...full.map(
      ({ shape, parent, candidates }) =>
        `${shape.name} (${shape.what}) to ${parent}: ${candidates.map(({ name }) => name).join('; ')}`,
    ),
    ...increments.map(
      ({ shape, trackers, captures, ratios, patterns }) =>
        `increments of ${shape.name}: ${trackers.join(', ')}; ${captures.join(', ')}; ` +
        `${ratios.map((ratio) => `${ratio * 100} %`).join(', ')}; ${patterns.join(', ')}`,
    ),
  ]
}

function planFull(options: SuiteOptions): FullPlan[] {
  const { tmpfs, disk, all, aims, only, captures } = options
  const peers = peersFrom(options.against)
  return SHAPES.filter(({ name }) => isSelected(name, only) && (!aims || AIM_SHAPES.includes(name))).flatMap(
    (shape) => {
      const onDisk = all || shape.targets === 'both'
      return [...new Set(onDisk ? [tmpfs, disk] : [tmpfs])].map((parent) => {
        const counts = parent === tmpfs && !aims ? workerCounts(shape, options) : []
        const able = peers.filter(({ maker }) => maker !== 'gcore' || shape.gcore)
        return { shape, parent, candidates: [...tidemarks(shape, captures, counts), ...able] }
      })
    },
  )
}

/** Tidemark by each way of capture, with its default number of workers and with each of `workers`. */
function tidemarks(shape: Shape, captures: readonly Capture[], workers: readonly number[]): Candidate[] {
  return captures.flatMap((capture) => {
    const args = ['--capture', capture, '--max-memory', stagingFor(shape)]
    return [
      tidemark(`tidemark ${capture}`, args),
      ...workers.map((count) =>
        tidemark(`tidemark ${capture}, ${count} worker${count === 1 ? '' : 's'}`, [
          ...args,
          '--workers',
          String(count),
        ]),
      ),
    ]
  })
}

function workerCounts({ scaling }: Shape, { workers, all }: SuiteOptions): readonly number[] {
  if (workers.length > 0) return workers
  const cores = availableParallelism()
  if (all) return [1, 2, 4, 8, 16, 32, 64, 128].filter((count) => count < cores)
  return scaling && cores > 1 ? [1] : []
}

function planIncrements(options: SuiteOptions): IncrementPlan[] {
  const { runs, tmpfs, aims, all, increments, only, shape, captures } = options
  const common = { runs, parent: tmpfs }
  const trackers = workingTrackers()
  if (aims) {
    return AIM_SHAPES.filter((name) => isSelected(name, only) && trackers.includes('uffd-wp')).map(
      (name) => ({
        ...common,
        shape: shapeNamed(name),
        trackers: ['uffd-wp'],
        captures: ['copy'],
        ratios: AIM_RATIOS,
        patterns: [AIM_PATTERN],
      }),
    )
  }
  if (!increments && !all) return []
  const selected = all ? trackers : trackers.filter((name) => isSelected(name, only))
  return [
    {
      ...common,
      shape: shapeNamed(shape),
      trackers: selected,
      captures,
      ratios: RATIOS,
      patterns: ['scattered', 'dense'],
    },
  ]
}

/** Trackers that work on this kernel. */
function workingTrackers(): TrackerName[] {
  const kernel = probeKernel()
  const works = { 'soft-dirty': kernel.softDirty, 'uffd-wp': probeAsyncProtect(kernel), content: true }
  return TRACKER_NAMES.filter((name) => works[name])
}
