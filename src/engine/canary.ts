/**
 * The canary: shows that somebody else reset the dirty bits since our last reset.
 *
 *   our reset        some pages, drawn by lot          . . . . . .      all clean
 *   our writes       some of them                      x . x . . x      rewritten with what they hold
 *   the next dump    the same pattern must be there    x . x . . x      else: reset by others since
 *
 * Another CRIU, a garbage collector, or Tidemark run by another user clears the pattern, or draws one of its own.
 */
import { randomBytes } from 'node:crypto'
import { testBit } from '../core/bitmap.js'
import { slotOfPage, type ChunkDirectory } from '../core/chunks.js'
import { vmaFate } from '../core/fate.js'
import { vmaPages, WATCHED_FLAGS, type Vma } from '../core/vma.js'
import { pageSize } from '../kernel/page-size.js'
import { forceRewrite } from '../kernel/target-memory.js'
import type { TrackerName } from '../track/tracker.js'

/** A page of the pattern. */
export interface CanaryPage {
  readonly page: number
  /** Whether it was rewritten after the reset, and so must be dirty at the next dump; else it must be clean. */
  readonly rewritten: boolean
}

/** Pages of a pattern at most. */
const CANARY_PAGES = 16

/** A VMA with fewer pages than a huge page has holds none: rewriting a byte of one would split it. */
const HUGE_PAGES = 512

/** The bitmaps of one scan. */
export interface ScannedBits {
  readonly chunks: ChunkDirectory
  readonly present: Int32Array
  readonly dirty: Int32Array
}

/**
 * A pattern for the next interval.
 *
 * - soft-dirty: pages of files that the process has changed and may not write any more (relocated data, mostly).
 *   Nobody dirties them by the way, so the clean ones count as well.
 * - uffd-wp does not watch those, and some programs have none: then any pages of small anonymous VMAs, all rewritten. One
 *   that the program writes too proves nothing, several of them hardly all are.
 *
 * The pages are drawn by lot too: two runs that know nothing of each other must not draw the same ones.
 */
export function chooseCanary(
  tracker: TrackerName,
  vmas: readonly Vma[],
  scanned: Pick<ScannedBits, 'chunks' | 'present'>,
): CanaryPage[] {
  // A write to what another userfaultfd protects would wait for the process that stands.
  const safe = tracker === 'soft-dirty' ? vmas.filter(isUnwatched) : vmas
  const readOnly = tracker === 'soft-dirty' ? drawPages(safe.filter(isReadOnlyCopy), scanned) : []
  const lot = randomBytes(CANARY_PAGES)
  if (readOnly.length > 0) {
    const isDrawn = (index: number): boolean => index === 0 || ((lot[index] ?? 0) & 1) === 1
    return readOnly.map((page, index) => ({ page, rewritten: isDrawn(index) }))
  }
  return drawPages(safe.filter(isSmallAnonymous), scanned).map((page) => ({ page, rewritten: true }))
}

/** Up to {@link CANARY_PAGES} pages that are there, of VMAs in an order drawn by lot, of each from a place drawn by lot on. */
function drawPages(
  vmas: readonly Vma[],
  { chunks, present }: Pick<ScannedBits, 'chunks' | 'present'>,
): number[] {
  const share = Math.ceil(CANARY_PAGES / Math.max(1, vmas.length))
  const pages: number[] = []
  for (const vma of inAnyOrder(vmas)) {
    if (pages.length === CANARY_PAGES) break
    const most = Math.min(CANARY_PAGES, pages.length + share)
    const length = vmaPages(vma)
    const first = Math.floor(Math.random() * length)
    for (let step = 0; step < length && pages.length < most; step++) {
      const page = vma.startPage + ((first + step) % length)
      const slot = slotOfPage(chunks, page)
      if (slot >= 0 && testBit(present, slot)) pages.push(page)
    }
  }
  return pages
}

/** Each of `items` once; what is not asked for is not drawn. */
function* inAnyOrder<Item>(items: readonly Item[]): Generator<Item> {
  const rest = [...items]
  for (let left = rest.length; left > 0; left--) {
    const at = Math.floor(Math.random() * left)
    const drawn = rest[at]
    const last = rest[left - 1]
    if (drawn === undefined || last === undefined) return
    rest[at] = last
    yield drawn
  }
}

function isUnwatched({ flags }: Vma): boolean {
  return flags !== undefined && !WATCHED_FLAGS.some((flag) => flags.has(flag))
}

function isReadOnlyCopy(vma: Vma): boolean {
  return !vma.write && !vma.shared && vma.read && vmaFate(vma).store === 'file-private'
}

function isSmallAnonymous(vma: Vma): boolean {
  return !vma.shared && vma.read && vmaFate(vma).store === 'anonymous' && vmaPages(vma) < HUGE_PAGES
}

/**
 * What speaks against the interval that ends; empty where nothing does. Pages that are gone say nothing.
 *
 * @param scanned - of the target as it is now
 */
export function canaryObjection(
  tracker: TrackerName,
  canary: readonly CanaryPage[],
  { chunks, present, dirty }: ScannedBits,
): string {
  const there = canary.filter(({ page }) => {
    const slot = slotOfPage(chunks, page)
    return slot >= 0 && testBit(present, slot)
  })
  if (tracker === 'soft-dirty' && !there.some(({ rewritten }) => rewritten))
    return 'no page is left by which a reset of the dirty bits by others would be noticed'
  const isWhole = there.every(({ page, rewritten }) => testBit(dirty, slotOfPage(chunks, page)) === rewritten)
  return isWhole ? '' : 'the dirty bits were reset by another program since the parent was taken'
}

/** Draws the pattern: rewrites one byte of each of its pages with its own value. False where the kernel forbids that. */
export function drawCanary(tid: number, canary: readonly CanaryPage[]): boolean {
  const addresses = canary.filter(({ rewritten }) => rewritten).map(({ page }) => page * pageSize())
  return forceRewrite(tid, addresses)
}
