/**
 * A snapshot with its parents, as a reader needs it: every page found, however far back its content lies.
 *
 * The link to the parent images is a symbolic link called `parent` in the images directory, relative, as CRIU
 * makes it. source: criu/image.c open_image_dir
 */
import { closeSync, lstatSync, readlinkSync, readSync, realpathSync, type Stats } from 'node:fs'
import { join, resolve } from 'node:path'
import { locatePages, rowAt, type LinkRows, type LocatedPages, type LostPages } from '../core/chain-pages.js'
import { codeOf, isTidemarkError, TidemarkError } from '../errors.js'
import { badImage } from './bad-image.js'
import { PARENT_LINK, type Manifest } from './manifest.js'
import { entryOffsets, PE_PARENT, PE_PRESENT, type Pagemap } from './pagemap.js'
import { openPages, readManifest, readPagemap, readSnapshot } from './snapshot.js'

/** One link of a chain, open. */
export interface ChainLink {
  readonly folder: string
  /** Undefined for images that CRIU wrote. */
  readonly manifest: Manifest | undefined
  readonly pagemap: Pagemap
  readonly pagesFd: number
}

/** An open chain; index 0 is the snapshot itself, the last one has no parent. */
export class Chain {
  readonly links: readonly ChainLink[]
  /** The pid in the images' names. */
  readonly pid: number
  /** In bytes. */
  readonly pageSize: number
  readonly located: LocatedPages
  /** Pages that a link leaves to a parent which does not have them: damage. */
  readonly lost: readonly LostPages[]
  #open = true

  constructor(links: readonly ChainLink[], pid: number, pageSize: number) {
    this.links = links
    this.pid = pid
    this.pageSize = pageSize
    const { located, lost } = locatePages(links.map(({ pagemap }) => rowsOf(pagemap)))
    this.located = located
    this.lost = lost
  }

  /** The content of page number `page`, or undefined where the snapshot lists no such page. Throws `BAD_IMAGE`. */
  readPage(page: number): Uint8Array | undefined {
    const row = rowAt(this.located, page)
    const start = this.located.startPage[row]
    if (start === undefined || start > page) return undefined
    const link = this.links[this.located.link[row] ?? 0]
    if (link === undefined) return undefined
    const content = Buffer.alloc(this.pageSize)
    const offset = ((this.located.filePage[row] ?? 0) + page - start) * this.pageSize
    if (readSync(link.pagesFd, content, 0, this.pageSize, offset) === this.pageSize) return content
    throw badImage(
      join(link.folder, `pages-${link.pagemap.pagesId}.img`),
      `truncated: it ends before ${offset}`,
    )
  }

  /** Closes every pages file. */
  close(): void {
    if (this.#open) for (const { pagesFd } of this.links) closeSync(pagesFd)
    this.#open = false
  }
}

/** What images of a pre-dump by CRIU do not say themselves. */
export interface PreDumped {
  /** In the images' names. */
  readonly pid: number
  /** In bytes. */
  readonly pageSize: number
}

/** Whether the images directory `folder` has parent images. */
export function hasParent(folder: string): boolean {
  return linkStats(folder) !== undefined
}

/**
 * The snapshot in `folder` with all its parents. The caller closes it.
 *
 * @param preDumped - has to be given where the snapshot itself may be a pre-dump by CRIU
 * @throws BAD_IMAGE where a link is missing, damaged or loops. Pages that a link leaves to a parent without them
 * are told by {@link Chain.lost}.
 */
export function openChain(folder: string, preDumped?: PreDumped): Chain {
  const links: ChainLink[] = []
  try {
    const { pid, pageSize } = openLinks(folder, links, preDumped)
    return new Chain(links, pid, pageSize)
  } catch (error) {
    for (const { pagesFd } of links) closeSync(pagesFd)
    throw error
  }
}

function openLinks(
  folder: string,
  links: ChainLink[],
  preDumped: PreDumped | undefined,
): { pid: number; pageSize: number } {
  const seen = new Set<string>()
  const { pid, pageSize } = preDumped ?? readTop(folder)
  for (let at: string | undefined = realFolder(folder); at !== undefined; at = parentFolder(at)) {
    if (seen.has(at)) throw badImage(join(at, PARENT_LINK), 'the chain of parents loops')
    seen.add(at)
    links.push(openLink(at, pid, pageSize))
  }
  return { pid, pageSize }
}

function realFolder(folder: string): string {
  try {
    return realpathSync(folder)
  } catch (error) {
    throw badImage(folder, `it cannot be opened: ${codeOf(error) ?? 'unknown'}`, error)
  }
}

function readTop(folder: string): PreDumped {
  const top = readSnapshot(folder)
  top.close()
  return top.images
}

function openLink(folder: string, pid: number, pageSize: number): ChainLink {
  const manifest = readManifest(folder)
  if (manifest !== undefined) readSnapshot(folder).close()
  if (manifest !== undefined && manifest.pageSize !== pageSize)
    throw badImage(folder, `its pages have ${manifest.pageSize} bytes, those of the snapshot ${pageSize}`)
  const pagemap = readPagemap(folder, pid, pageSize)
  return { folder, manifest, pagemap, pagesFd: openPages(folder, { pagemap, pageSize, manifest }).fd }
}

/** The folder that the parent link of `folder` leads to, without links. Throws `BAD_IMAGE` for a dead one. */
function parentFolder(folder: string): string | undefined {
  const stats = linkStats(folder)
  if (stats === undefined) return undefined
  const path = join(folder, PARENT_LINK)
  if (!stats.isSymbolicLink()) throw badImage(path, 'it is not a symbolic link')
  const target = readlinkSync(path)
  try {
    return realpathSync(resolve(folder, target))
  } catch (error) {
    throw badImage(path, `it leads to ${target}, which is not there: ${codeOf(error) ?? 'unknown'}`, error)
  }
}

function linkStats(folder: string): Stats | undefined {
  try {
    return lstatSync(join(folder, PARENT_LINK), { throwIfNoEntry: false })
  } catch (error) {
    if (isTidemarkError(error)) throw error
    throw new TidemarkError('BAD_IMAGE', `can't look into ${folder}`, { path: folder }, error)
  }
}

function rowsOf(pagemap: Pagemap): LinkRows {
  const place = (row: number): 'present' | 'parent' | 'neither' => {
    const flags = pagemap.flags[row] ?? 0
    if ((flags & PE_PRESENT) !== 0) return 'present'
    return (flags & PE_PARENT) !== 0 ? 'parent' : 'neither'
  }
  return { count: pagemap.count, startPage: pagemap.startPage, pageCount: pagemap.pageCount, place }
}

/** Pages in `pagemap` that are in its own pages file. */
export function storedPageCount(pagemap: Pagemap): number {
  return entryOffsets(pagemap)[pagemap.count] ?? 0
}
