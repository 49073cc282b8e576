/**
 * Increments: how long the target stands, by tracker and by how much of it changed since the parent, and what the first
 * write to a page costs the target afterwards.
 */
import { join } from 'node:path'
import { untrack } from '../src/index.js'
import type { TrackerName } from '../src/track/tracker.js'
import { numberFact } from '../test/support/facts.js'
import { withLoneVictim, type LoneVictim } from '../test/support/lone-victim.js'
import { incrementName } from './aims.js'
import { runTidemark, type Capture } from './candidates.js'
import { warmBytes } from './estimate.js'
import type { Measured, Run } from './figures.js'
import { fileSystemOf, warmMemory } from './machine.js'
import { isDone, measuredOf, type Tally } from './measurement.js'
import { withScratch } from './scratch.js'
import { bytesOf, stagingFor, type Shape } from './shapes.js'

/** Which pages the target writes before an increment. */
export type Pattern = 'scattered' | 'dense'

/** What is measured on one victim. */
export interface IncrementPlan {
  readonly shape: Shape
  readonly trackers: readonly TrackerName[]
  readonly captures: readonly Capture[]
  /** Parts of the memory that are written before each increment. */
  readonly ratios: readonly number[]
  readonly patterns: readonly Pattern[]
  readonly runs: number
  /** Where images go. */
  readonly parent: string
}

/** One kind of increment. */
interface Kind {
  readonly tracker: TrackerName
  readonly capture: Capture
  readonly ratio: number
  readonly pattern: Pattern
}

/** Runs that were disturbed are made up for by so many times the wanted ones at most. */
const MAX_ROUNDS = 2
/** Images of a chain that are kept at a time. */
const CHAIN_BYTES = 6 * 2 ** 30

/** Measures every tracker, way of capture, ratio and pattern; `print` gets each when it is there. */
export async function measureIncrements(
  plan: IncrementPlan,
  print: (one: Measured) => void,
): Promise<Measured[]> {
  const all: Measured[] = []
  const kinds = kindsOf(plan)
  await withLoneVictim(plan.shape.victim, plan.shape.args, async (victim) => {
    for (const kind of kinds) {
      const one = await measureKind(victim, plan, kind)
      print(one)
      all.push(one)
    }
  })
  return all
}

/** How many dumps `plan` will take, full ones included. */
export function countDumps(plan: IncrementPlan): number {
  return kindsOf(plan).length * (plan.runs + 1)
}

function kindsOf({ trackers, captures, ratios, patterns }: IncrementPlan): Kind[] {
  return trackers.flatMap((tracker) =>
    captures.flatMap((capture) =>
      ratios.flatMap((ratio) =>
        // Nothing and everything have no pattern.
        (ratio === 0 || ratio === 1 ? patterns.slice(0, 1) : patterns).map((pattern) => ({
          tracker,
          capture,
          ratio,
          pattern,
        })),
      ),
    ),
  )
}

async function measureKind(victim: LoneVictim, plan: IncrementPlan, kind: Kind): Promise<Measured> {
  const tally: Tally = { candidate: `${kind.tracker} ${kind.capture}`, runs: [] }
  const most = MAX_ROUNDS * plan.runs
  try {
    while (!isDone(tally, plan.runs, tally.runs.length >= most)) {
      await withScratch(plan.parent, (folder) => takeChain(victim, plan, kind, tally, folder))
    }
  } catch (error) {
    tally.failure = String(error)
    console.error(tally.failure)
  }
  return measuredOf(tally, plan.runs, {
    shape: incrementName(plan.shape.name, kind.ratio, kind.pattern),
    target: fileSystemOf(plan.parent),
  })
}

/** A full dump, and increments on it, each after the target has written; until there are enough, or the chain is large. */
async function takeChain(
  victim: LoneVictim,
  plan: IncrementPlan,
  kind: Kind,
  tally: Tally,
  folder: string,
): Promise<void> {
  const most = MAX_ROUNDS * plan.runs
  const links = Math.max(1, Math.floor(CHAIN_BYTES / Math.max(1, bytesOf(plan.shape) * kind.ratio)))
  // The tracker that compares contents has every page in hand.
  const stored = bytesOf(plan.shape) * (kind.tracker === 'content' ? 1 : kind.ratio)
  const args = ['--max-memory', stagingFor(plan.shape), '--tracker', kind.tracker, '--capture', kind.capture]
  try {
    warmMemory(warmBytes(bytesOf(plan.shape)))
    await runTidemark(victim.pid, join(folder, '0'), [...args, '--track-mem'])
    for (let link = 1; link <= links && !isDone(tally, plan.runs, tally.runs.length >= most); link++) {
      warmMemory(warmBytes(stored))
      const figures = await writeBefore(victim, plan.shape, kind)
      const increment = [...args, '--prev-images-dir', `../${link - 1}`]
      tally.runs.push(
        withFigures(await runTidemark(victim.pid, join(folder, String(link)), increment), figures),
      )
    }
  } finally {
    await untrack({ pid: victim.pid })
  }
}

/** Lets the victim write, and tells how long each page took it. */
async function writeBefore(
  victim: LoneVictim,
  shape: Shape,
  { ratio, pattern }: Kind,
): Promise<Record<string, number>> {
  const pages = Math.floor(shape.pages * ratio)
  if (pages === 0) return {}
  const command = pattern === 'dense' ? 'dense' : 'write'
  // A content that was never there before: the tracker that compares would find the page unchanged.
  const seed = 2 + Math.floor(performance.now())
  const written = await victim.request(`${command} ${pages} ${seed}`)
  return { 'write each': numberFact(written, 'micros') / numberFact(written, 'pages') }
}

function withFigures(run: Run, figures: Record<string, number>): Run {
  return { ...run, figures: { ...run.figures, ...figures } }
}
