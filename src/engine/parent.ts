/** The parent images that a dump builds on, as `--prev-images-dir` names them. */
import { realpathSync, statSync } from 'node:fs'
import { relative, resolve } from 'node:path'
import { codeOf, messageOf, TidemarkError } from '../errors.js'
import { openChain, type Chain } from '../image/chain.js'
import { readInventory } from '../image/inventory.js'
import { readManifest } from '../image/snapshot.js'
import { USER_HZ } from '../kernel/clock.js'
import { pageSize } from '../kernel/page-size.js'
import { readBootId } from '../kernel/procfs.js'
import type { TargetIdentity } from '../kernel/target.js'

/** Parent images that can be read. The caller closes the chain. */
export interface Parent {
  /** For the `parent` link: relative to the images directory. */
  readonly link: string
  /** The parent with all its parents; it is the first link. */
  readonly chain: Chain
}

/**
 * The folder that `previous`, relative to the images directory as CRIU has it, means.
 *
 * @throws BAD_OPTION where there is no such directory, or where it is the images directory itself
 */
export function resolveParent(imagesDir: string, previous: string): string {
  const path = resolve(imagesDir, previous)
  const folder = realDirectory(path)
  if (folder === undefined) {
    throw new TidemarkError(
      'BAD_OPTION',
      `--prev-images-dir ${previous}: there is no directory ${path} (it is relative to the images directory)`,
      { option: 'prev-images-dir', path },
    )
  }
  if (folder !== imagesDir) return folder
  throw new TidemarkError('BAD_OPTION', '--prev-images-dir is the images directory itself', {
    option: 'prev-images-dir',
    path,
  })
}

/** `path` without links; undefined where no directory can be reached by it. */
function realDirectory(path: string): string | undefined {
  try {
    const folder = realpathSync(path)
    return statSync(folder).isDirectory() ? folder : undefined
  } catch {
    return undefined
  }
}

/** Opens the parent in `folder`; a text instead says why it is none. */
export function openParent(imagesDir: string, folder: string, target: TargetIdentity): Parent | string {
  try {
    const chain = openChain(folder, { pid: target.nsPid, pageSize: pageSize() })
    if (chain.lost.length === 0) return parentOf(relative(imagesDir, folder), chain)
    chain.close()
    return `the parent is damaged: its own parent lacks ${String(chain.lost.length)} ranges of pages`
  } catch (error) {
    if (codeOf(error) === 'BAD_IMAGE') return `the parent is no whole snapshot (${messageOf(error)})`
    throw error
  }
}

/** Throws `BROKEN_CHAIN` where the parent images are not there any more, or others are in their place. */
export function confirmParent(imagesDir: string, { link, chain }: Parent, pid: number): void {
  const path = resolve(imagesDir, link)
  const folder = realDirectory(path)
  const [first] = chain.links
  const same = folder !== undefined && readManifest(folder)?.snapshotId === first?.manifest?.snapshotId
  if (same) return
  throw new TidemarkError(
    'BROKEN_CHAIN',
    `the parent images of process ${String(pid)} in ${path} were removed or replaced during the dump; nothing was saved`,
    { pid, path },
  )
}

function parentOf(link: string, chain: Chain): Parent {
  return { link, chain }
}

/** Why a snapshot of Tidemark's is none of this very process; undefined where it is. */
export function foreignProcess({ chain }: Parent, target: TargetIdentity): string | undefined {
  const was = chain.links[0]?.manifest?.target
  if (was === undefined) return undefined
  if (was.bootId !== readBootId()) return 'the parent was taken before the machine was booted'
  if (was.pid !== target.pid) return `the parent is of process ${String(was.pid)}`
  if (was.startTimeTicks !== target.startTimeTicks)
    return `the parent is of an earlier process ${String(was.pid)}, which has ended`
  if (was.auxRandom !== target.auxRandom || was.auxRandom === '')
    return 'the process has called exec since the parent was taken'
  return undefined
}

/** Why images by CRIU cannot be of this very process; undefined where they can. */
export function youngerThanInventory({ chain }: Parent, target: TargetIdentity): string | undefined {
  const folder = chain.links[0]?.folder ?? ''
  const { dumpUptime } = readInventory(folder)
  if (dumpUptime === undefined) return "CRIU's inventory of the parent does not say when it was taken"
  const takenTicks = Number(dumpUptime) / (1e6 / USER_HZ)
  if (target.startTimeTicks < takenTicks) return undefined
  return 'the process started after the parent was taken'
}
