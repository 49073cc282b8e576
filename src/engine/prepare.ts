/**
 * Everything that can happen before the freeze: the target is examined, threads are started and have run
 * their code once, staging memory is faulted in, the images directory stands ready.
 */
import { statfsSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { isServed } from '../core/fate.js'
import { RunList, type PageRuns } from '../core/page-runs.js'
import { splitPlan, wholePlan } from '../core/plan-parts.js'
import { planPages } from '../core/plan.js'
import { vmaPages, type Vma } from '../core/vma.js'
import { codeOf, TidemarkError } from '../errors.js'
import { ImagesDirectory } from '../image/images-dir.js'
import { tryLock } from '../kernel/file-lock.js'
import { findSharers, mayVfork, newProcesses, sharedMemory } from '../kernel/mm-sharing.js'
import { pageSize } from '../kernel/page-size.js'
import { listProcesses } from '../kernel/procfs.js'
import { mapStaging, type Staging } from '../kernel/staging.js'
import { confirmIdentity, type TargetIdentity } from '../kernel/target.js'
import { rereadAddressSpace } from './address-space.js'
import type { Crew } from './crew.js'
import { copyPlanned, type WindowInput } from './frozen-window.js'
import { rehearseProtection } from './interval.js'
import { throwIfAborted, type DumpSettings } from './options.js'
import type { Survey } from './survey.js'

/** A running target grows: room for that beyond what the survey found. */
const GROWTH = 1.05

const GROWTH_BYTES = 2 ** 23

/** How often one looks for a process that shares memory, and after what time without a vfork it is there to stay. */
const SHARER_POLL_MS = 2
const SETTLED_MS = 300

/** Batches that each thread copies in the rehearsal. */
const REHEARSED_BATCHES = 4

/** Makes the images directory and locks it. */
export function openImagesDirectory(path: string): ImagesDirectory {
  return ImagesDirectory.create(path, { lock: tryLock })
}

/**
 * Processes there now, when none of them shares the target's memory: a child does between vfork and exec, so one that
 * does is waited for until `deadline`, in the clock of performance.now().
 *
 * @throws SHARED_MM at the deadline; soon where nothing in the target looks like vfork. INTERRUPTED, TARGET_DIED
 */
export async function awaitAlone(
  { pid, tid }: TargetIdentity,
  deadline: number,
  signal: AbortSignal | undefined,
): Promise<ReadonlySet<number>> {
  let settled = { sharer: -1, since: 0 }
  for (;;) {
    const processes = listProcesses()
    const [sharer] = findSharers(pid, tid, processes)
    if (sharer === undefined) return new Set(processes)
    const now = performance.now()
    if (sharer !== settled.sharer || mayVfork(pid)) settled = { sharer, since: now }
    if (now > deadline || now - settled.since > SETTLED_MS) throw sharedMemory(pid, sharer)
    await sleep(SHARER_POLL_MS)
    throwIfAborted(signal)
  }
}

/** Throws `WRITE_FAILED` where the file system has not room for what the survey found. */
export function checkSpace(images: ImagesDirectory, survey: Survey): void {
  const { bavail, bsize } = statfsSync(images.path)
  const needed = planPages(survey.plan) * pageSize()
  if (bavail * bsize >= needed) return
  throw new TidemarkError(
    'WRITE_FAILED',
    `the file system of ${images.path} has room for ${String(bavail * bsize)} bytes, the dump needs ${String(needed)}; ` +
      'free some space or choose another directory',
    { path: images.path, errno: 'ENOSPC' },
  )
}

/** Staging memory in whole batches, and a streaming buffer for each thread behind it. */
export interface StagingArea {
  readonly staging: Staging
  /** Bytes before the streaming buffers. */
  readonly stagingBytes: number
}

/** Bytes of staging memory for `pages` pages, which may grow a little. */
export function stagingBytesFor(pages: number): number {
  return Math.ceil(pages * GROWTH) * pageSize() + GROWTH_BYTES
}

/** Maps staging memory for `pages` pages, grown a little, at most `maxMemory` bytes. */
export function mapStagingArea(
  { maxMemory, bufferSize }: Pick<DumpSettings, 'maxMemory' | 'bufferSize'>,
  pages: number,
  threads: number,
): StagingArea {
  const batches = Math.min(Math.floor(maxMemory / bufferSize), Math.ceil(stagingBytesFor(pages) / bufferSize))
  const stagingBytes = batches * bufferSize
  return { staging: mapStaging(stagingBytes + threads * bufferSize), stagingBytes }
}

/** Has the crew fault it in. Throws `INTERRUPTED`. */
export async function populateStaging(
  area: StagingArea,
  signal: AbortSignal | undefined,
  crew: Crew,
): Promise<void> {
  const { address, byteLength } = area.staging
  await crew.run({ kind: 'populate', address, byteLength }, () => {
    if (signal?.aborted === true) crew.stop()
  })
  throwIfAborted(signal)
}

/** Memory that must not be read while the process runs: a page may go at any time, and then the reader waits. */
function servedRanges(vmas: readonly Vma[]): PageRuns {
  const list = new RunList()
  for (const vma of vmas) if (isServed(vma)) list.add(vma.startPage, vmaPages(vma))
  return list.toRuns()
}

/**
 * Goes once through what will happen while the target stands still, with the target running: code is compiled
 * and files are known by then. A page that vanishes meanwhile is no matter.
 */
export function rehearse(input: WindowInput): void {
  const { pid, tid } = input.target
  confirmIdentity(input.target)
  // Whoever shares its memory now may be gone when it stands.
  findSharers(pid, tid, newProcesses(input.processes))
  rereadAddressSpace(input.target, input.features, input.survey.space)
  rehearseReset(input)
  if (input.capture.method === 'fork') return
  const { plan } = splitPlan(input.survey.plan, servedRanges(input.survey.space.vmas)).outside
  const pages = Math.min(planPages(plan), REHEARSED_BATCHES * input.crew.size * input.batchPages)
  if (input.stagingBytes < pages * pageSize()) return
  try {
    copyPlanned(input, wholePlan(plan), pages, pages)
  } catch (error) {
    if (codeOf(error) !== 'UNREADABLE_PAGE') throw error
  }
}

/** A reset of bits that clear_refs resets needs none. */
function rehearseReset({ tracking, target, crew, survey, expired }: WindowInput): void {
  if (tracking.tracker?.name !== 'uffd-wp') return
  rehearseProtection(target, crew, survey, survey.space.vmas, expired)
}

/** Has V8 collect its garbage now, so that it need not while the target stands still. */
export function collectGarbage(): void {
  setFlagsFromString('--expose-gc')
  runInNewContext('gc()')
}
