/** Runs of several candidates on one victim, in turn, until each has enough that nobody disturbed. */
import { join } from 'node:path'
import { withLoneVictim, type LoneVictim } from '../test/support/lone-victim.js'
import { runOnce, type Candidate } from './candidates.js'
import { estimateSeconds, warmBytes } from './estimate.js'
import { chooseRuns, spreadsOf, type Measured, type Run } from './figures.js'
import { fileSystemOf, warmMemory } from './machine.js'
import { withScratch } from './scratch.js'
import { bytesOf, type Shape } from './shapes.js'

/** A run that other processes disturbed more than this, as a part of all cores' time, is taken again. */
export const MAX_DISTURBANCE = 0.1
/** Runs are taken again until this many times the estimated time has passed; so a busy machine ends too. */
const PATIENCE = 2

/** What one candidate has come to so far. */
export interface Tally {
  readonly candidate: string
  readonly runs: Run[]
  /** Why it is out. */
  failure?: string
}

/** Whether `tally` needs no more runs. */
export function isDone(tally: Tally, wanted: number, outOfTime: boolean): boolean {
  if (tally.failure !== undefined) return true
  const quiet = tally.runs.filter(({ disturbance }) => disturbance <= MAX_DISTURBANCE).length
  return quiet >= wanted || (outOfTime && tally.runs.length >= wanted)
}

/** The line of the result for `tally`. */
export function measuredOf(
  tally: Tally,
  wanted: number,
  place: Pick<Measured, 'shape' | 'target'>,
): Measured {
  const { chosen, disturbed } = chooseRuns(tally.runs, wanted, MAX_DISTURBANCE)
  const notes = new Set(chosen.map(({ note }) => note).filter((note) => note !== undefined))
  if (tally.failure !== undefined) notes.add(`failed: ${tally.failure}`)
  return {
    ...place,
    candidate: tally.candidate,
    runs: chosen.length,
    rejected: tally.runs.length - chosen.length,
    disturbed,
    notes: [...notes],
    figures: spreadsOf(chosen),
  }
}

/**
 * Measures `candidates` on a victim of `shape`, writing to the file system at `parent`. One that fails is left out, with
 * the reason, and the others go on with a new victim.
 */
export async function measureShape(
  shape: Shape,
  candidates: readonly Candidate[],
  parent: string,
  wanted: number,
): Promise<Measured[]> {
  const tallies = candidates.map((candidate): [Candidate, Tally] => [
    candidate,
    { candidate: candidate.name, runs: [] },
  ])
  const makers = candidates.map(({ maker }) => maker)
  const deadline = performance.now() + PATIENCE * 1000 * estimateSeconds(shape, makers, wanted)
  const isOver = (): boolean => {
    const outOfTime = performance.now() > deadline
    return tallies.every(([, tally]) => isDone(tally, wanted, outOfTime))
  }
  const takeTurns = async (victim: LoneVictim, folder: string): Promise<void> => {
    while (!isOver()) {
      for (const [candidate, tally] of tallies) {
        if (isDone(tally, wanted, performance.now() > deadline)) continue
        if (!(await takeRun(candidate, tally, shape, victim.pid, join(folder, 'images')))) return
      }
    }
  }
  await withScratch(parent, async (folder) => {
    while (!isOver()) await withLoneVictim(shape.victim, shape.args, (victim) => takeTurns(victim, folder))
  })
  const place = { shape: shape.name, target: fileSystemOf(parent) }
  return tallies.map(([, tally]) => measuredOf(tally, wanted, place))
}

/** False where the run failed. */
async function takeRun(
  candidate: Candidate,
  tally: Tally,
  shape: Shape,
  pid: number,
  images: string,
): Promise<boolean> {
  warmMemory(warmBytes(bytesOf(shape)))
  try {
    tally.runs.push(await runOnce(candidate, pid, images))
    return true
  } catch (error) {
    tally.failure = String(error)
    console.error(`${shape.name}, ${candidate.name}: ${tally.failure}`)
    return false
  }
}
