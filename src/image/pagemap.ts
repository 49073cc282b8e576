/**
 * pagemap-ID.img: the runs of a plan as CRIU's pagemap entries, and back as columns.
 *
 *   plan          start 0x7f00 pages 3      start 0x7f10 pages 2
 *   pagemap       {vaddr, nr_pages 3}       {vaddr, nr_pages 2}
 *   pages-N.img   |p p p|p p|               in the order of the entries that are present, without a header
 *
 * source: criu/pagemap.c init_compat_pagemap_entry, criu/include/pagemap.h
 */
import type { DumpPlan } from '../core/plan.js'
import { badImage } from './bad-image.js'
import { frameMessages, messageLength, messageOffsets } from './container.js'
import { PAGEMAP_MAGICS } from './magic.js'
import type { Halves, RawPagemapEntry } from './messages.js'
import { decodeMessage, encodeMessage, openPagemapWriter, pagemapEntryReader } from './schema.js'

/** The pages' content is in the parent images. source: criu/include/pagemap.h */
export const PE_PARENT = 1
/** The pages may be restored lazily. */
export const PE_LAZY = 2
/** The pages' content is in pages-N.img. */
export const PE_PRESENT = 4

/** Bytes of a framed entry in the usual case: 4 length, 7 address, 2 + 2 + 2 the rest, a little slack. */
const USUAL_ENTRY_BYTES = 20
const MAX_U32 = 0xffffffff
const TWO_TO_32 = 2 ** 32
const TWO_TO_64 = 2 ** 64

/** A pagemap in columns: row i is the i-th entry. Ascending, without overlap. */
export interface Pagemap {
  /** The N of pages-N.img. */
  readonly pagesId: number
  /** Number of entries, the length of each column. */
  readonly count: number
  /** First page number. */
  readonly startPage: Float64Array
  readonly pageCount: Float64Array
  /** `PE_PARENT`, `PE_LAZY`, `PE_PRESENT`. */
  readonly flags: Uint8Array
}

/**
 * pagemap-ID.img for `plan`: an entry a run, in address order; a hole's pages are in the parent.
 *
 * Both fields of the page count are written, so that CRIU before and since 4.2 can read it.
 *
 * @param pageSize - in bytes, a power of two
 * @param pagesId - the N of pages-N.img
 */
export function encodePagemap(plan: DumpPlan, pageSize: number, pagesId: number): Uint8Array {
  const { holes } = plan
  const prefix = frameMessages(PAGEMAP_MAGICS, [encodeMessage('pagemap_head', { pagesId })])
  const writer = openPagemapWriter(prefix, prefix.length + (plan.runCount + holes.count) * USUAL_ENTRY_BYTES)
  const entry = { vaddr: 0, compatNrPages: 0, flags: PE_PRESENT, nrPages: 0 }
  const append = (page: number, pages: number, flags: number): void => {
    entry.vaddr = page * pageSize
    entry.compatNrPages = Math.min(pages, MAX_U32)
    entry.nrPages = pages
    entry.flags = flags
    writer.append(entry)
  }
  for (let run = 0, hole = 0; run < plan.runCount || hole < holes.count;) {
    const page = plan.startPage[run] ?? Infinity
    const holePage = holes.startPage[hole] ?? Infinity
    if (page < holePage) {
      append(page, (plan.offsetPages[run + 1] ?? 0) - (plan.offsetPages[run] ?? 0), PE_PRESENT)
      run++
    } else append(holePage, holes.pageCount[hole++] ?? 0, PE_PARENT)
  }
  return writer.finish()
}

/**
 * The pagemap in `bytes`, by CRIU of any version or by Tidemark.
 *
 * Throws `BAD_IMAGE` on a bad frame or message, and on entries that are not page-aligned, go beyond the
 * address space, or do not ascend without overlap.
 *
 * @param path - named in errors
 * @param pageSize - in bytes
 */
export function decodePagemap(bytes: Uint8Array, path: string, pageSize: number): Pagemap {
  const offsets = messageOffsets(bytes, PAGEMAP_MAGICS, path)
  const headAt = offsets[0]
  if (headAt === undefined) throw badImage(path, 'truncated: it holds no pagemap_head')
  const pagesId = readPagesId(bytes.subarray(headAt, headAt + messageLength(bytes, headAt)), path)
  const count = offsets.length - 1
  const startPage = new Float64Array(count)
  const pageCount = new Float64Array(count)
  const flags = new Uint8Array(count)
  const readEntry = pagemapEntryReader(bytes)
  let previousEnd = 0
  for (let index = 0; index < count; index++) {
    const offset = offsets[index + 1] ?? 0
    const entry = readOrBlame(readEntry, offset, messageLength(bytes, offset), path)
    const start = pageOf(entry.vaddr, pageSize, path)
    const pages = entry.nrPages === undefined ? entry.compatNrPages : toNumber(entry.nrPages)
    checkRange(start, pages, previousEnd, pageSize, path)
    startPage[index] = start
    pageCount[index] = pages
    flags[index] = entryFlags(entry)
    previousEnd = start + pages
  }
  return { pagesId, count, startPage, pageCount, flags }
}

/** Where each entry's pages begin in pages-N.img, in pages; entry `count` is the total. Length `count + 1`. */
export function entryOffsets(pagemap: Pagemap): Float64Array {
  const offsets = new Float64Array(pagemap.count + 1)
  for (let row = 0; row < pagemap.count; row++) {
    const stored = ((pagemap.flags[row] ?? 0) & PE_PRESENT) === 0 ? 0 : (pagemap.pageCount[row] ?? 0)
    offsets[row + 1] = (offsets[row] ?? 0) + stored
  }
  return offsets
}

/** Row of the entry that has `page`, or -1. */
export function entryOfPage(pagemap: Pagemap, page: number): number {
  let low = 0
  let high = pagemap.count
  while (low < high) {
    const middle = Math.floor((low + high) / 2)
    if ((pagemap.startPage[middle] ?? 0) + (pagemap.pageCount[middle] ?? 0) <= page) low = middle + 1
    else high = middle
  }
  return low < pagemap.count && (pagemap.startPage[low] ?? 0) <= page ? low : -1
}

/** The flags of an entry; older writers have the legacy field, or none, for what is simply present. */
function entryFlags(entry: RawPagemapEntry): number {
  if (entry.inParent === true) return (entry.flags ?? 0) | PE_PARENT
  return entry.flags ?? PE_PRESENT
}

function checkRange(start: number, pages: number, previousEnd: number, pageSize: number, path: string): void {
  const where = `entry at 0x${(BigInt(start) * BigInt(pageSize)).toString(16)}`
  if (start < previousEnd) throw badImage(path, `${where} overlaps the entry before it, or does not ascend`)
  if (start + pages > TWO_TO_64 / pageSize) {
    throw badImage(path, `${where} of ${pages} pages goes beyond the address space`)
  }
}

function pageOf(vaddr: Halves, pageSize: number, path: string): number {
  const low = vaddr.low >>> 0
  if (low % pageSize !== 0) {
    const address = (BigInt(vaddr.high >>> 0) << 32n) | BigInt(low)
    throw badImage(path, `entry at 0x${address.toString(16)} is not aligned to pages of ${pageSize} bytes`)
  }
  return toNumber(vaddr) / pageSize
}

/** Exact below 2^53, and for page-aligned values below 2^64. */
function toNumber(value: Halves): number {
  return (value.high >>> 0) * TWO_TO_32 + (value.low >>> 0)
}

function readPagesId(head: Uint8Array, path: string): number {
  try {
    return decodeMessage('pagemap_head', head).pagesId
  } catch (error) {
    throw badImage(path, 'no valid pagemap_head', error)
  }
}

function readOrBlame(
  readEntry: (start: number, length: number) => RawPagemapEntry,
  start: number,
  length: number,
  path: string,
): RawPagemapEntry {
  try {
    return readEntry(start, length)
  } catch (error) {
    throw badImage(path, `no valid pagemap_entry at offset ${start}`, error)
  }
}
