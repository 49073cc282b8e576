/**
 * Reads a chain of incremental images the slow and obvious way, and holds it against the stopped process.
 * Shares no line with the code under test: image files are parsed here once more, from the format's description.
 *
 *   1/    |p p p p|p p|        all data
 *   2/    |h h p h|  |h|p|     h: PE_PARENT, the content is in 1/    a page that is gone is in no entry
 *   3/    |h h h p|  |h|h|     the first two go on to 1/, the third ends in 2/
 *
 * source: criu/pagemap.c; images/pagemap.proto; criu/include/image.h for the flags
 */
import {
  closeSync,
  existsSync,
  lstatSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  readSync,
  realpathSync,
  statSync,
} from 'node:fs'
import { isAbsolute, join } from 'node:path'
import { pageSize } from './kernel-vmas.js'
import { type Comparison, compareWithProcess, withProcessPages } from './oracle.js'

/** Where the content of a page is. */
export interface PagePlace {
  /** The images directory of the chain that stores the page, as a real path. */
  readonly dir: string
  /** Byte offset in its pages file. */
  readonly offset: number
}

/** A chain, as its newest link shows it. */
export interface Chain {
  /** Real paths, newest link first. */
  readonly dirs: readonly string[]
  /** By page number (address / page size), ascending. */
  readonly pages: ReadonlyMap<number, PagePlace>
  /** Pages files by directory. */
  readonly pagesFiles: ReadonlyMap<string, string>
  /** Number of pages that the newest link stores, and of those that it leaves to its parent. */
  readonly stored: number
  readonly holes: number
}

/** What {@link expectChainEqualsProcess} counted in the newest link; `pages` = `stored` + `holes`. */
export interface ChainCounts {
  readonly pages: number
  readonly stored: number
  readonly holes: number
}

/** A chain that differs from the process; `pages` lists all wrong page numbers, ascending. */
export interface ChainMismatch extends Error {
  readonly code: 'CHAIN_MISMATCH'
  readonly pages: readonly number[]
}

interface Link {
  readonly dir: string
  readonly pagesFile: string
  readonly entries: readonly Entry[]
}

interface Entry {
  readonly firstPage: number
  readonly count: number
  readonly inParent: boolean
}

const MAGICS = [0x54564319, 0x56084025]
const FLAG_PARENT = 1
const FLAG_PRESENT = 4
const MAX_LINKS = 1000

/**
 * The chain whose newest link is `dir`. Throws where links loop or lead nowhere, entries overlap or descend, a
 * pages file has another size than its entries say, or a hole's page is not in the direct parent.
 */
export function readChain(dir: string): Chain {
  const links = readLinks(dir)
  let pages = new Map<number, PagePlace>()
  let stored = 0
  let holes = 0
  for (const link of [...links].reverse()) {
    const own = new Map<number, PagePlace>()
    stored = 0
    holes = 0
    for (const { firstPage, count, inParent } of link.entries) {
      for (let page = firstPage; page < firstPage + count; page += 1) {
        if (inParent) own.set(page, parentPlace(pages, page, link.dir))
        else own.set(page, { dir: link.dir, offset: stored * pageSize() })
        if (inParent) holes += 1
        else stored += 1
      }
    }
    checkSize(link, stored)
    pages = own
  }
  const pagesFiles = new Map(links.map((link) => [link.dir, link.pagesFile]))
  return { dirs: links.map((link) => link.dir), pages, pagesFiles, stored, holes }
}

/**
 * Runs `use` with a function that reads pages of `chain`, undefined where the chain lacks one. A page's bytes are
 * valid until the next call.
 */
export function withChainPages<Result>(
  chain: Chain,
  use: (readPage: (page: number) => Buffer | undefined) => Result,
): Result {
  const files = new Map<string, number>()
  const block = Buffer.alloc(256 * pageSize())
  let blockDir = ''
  let blockStart = 0
  let blockEnd = 0
  const readPage = (page: number): Buffer | undefined => {
    const place = chain.pages.get(page)
    if (place === undefined) return undefined
    const { dir, offset } = place
    if (dir !== blockDir || offset < blockStart || offset + pageSize() > blockEnd) {
      const fd = files.get(dir) ?? openSync(chain.pagesFiles.get(dir) ?? '', 'r')
      files.set(dir, fd)
      blockDir = dir
      blockStart = offset
      blockEnd = offset + readSync(fd, block, 0, block.length, offset)
    }
    const at = offset - blockStart
    return block.subarray(at, at + pageSize())
  }
  try {
    return use(readPage)
  } finally {
    for (const fd of files.values()) closeSync(fd)
  }
}

/** How `chain` differs from the stopped process `pid`. */
export function compareChain(chain: Chain, pid: number): Comparison {
  const found = withChainPages(chain, (readPage) =>
    compareWithProcess(pid, { storedPages: () => chain.pages.keys(), readPage }),
  )
  return process.getuid?.() === 0 ? found : { ...found, missing: withoutZeros(pid, found.missing) }
}

/**
 * Fails unless the chain whose newest link is `dir` holds exactly the memory of the stopped process `pid`: the
 * same bytes in every page that must be there, and no page more. Throws a {@link ChainMismatch}.
 */
export function expectChainEqualsProcess(dir: string, pid: number): ChainCounts {
  const chain = readChain(dir)
  const { compared, differing, missing, extra } = compareChain(chain, pid)
  const wrong = [...differing, ...missing, ...extra].sort((a, b) => a - b)
  if (wrong.length === 0 && compared > 0) {
    return { pages: chain.pages.size, stored: chain.stored, holes: chain.holes }
  }
  const lines = [
    `the chain ${dir} is not the memory of process ${pid} (${compared} pages compared)`,
    ...listed('with other bytes', differing, chain, pid),
    ...listed('missing', missing, chain, pid),
    ...listed('too much', extra, chain, pid),
  ]
  const mismatch: ChainMismatch = Object.assign(new Error(lines.join('\n')), {
    code: 'CHAIN_MISMATCH' as const,
    pages: wrong,
  })
  throw mismatch
}

/** Whether `error` is a {@link ChainMismatch}. */
export function isChainMismatch(error: unknown): error is ChainMismatch {
  return typeof error === 'object' && error !== null && 'code' in error && error.code === 'CHAIN_MISMATCH'
}

/** The first of `pages`, each with the place in the chain and the mapping that it is in. */
function listed(what: string, pages: readonly number[], chain: Chain, pid: number): string[] {
  if (pages.length === 0) return []
  const maps = readFileSync(`/proc/${pid}/maps`, 'latin1').split('\n')
  const lines = pages.slice(0, 8).map((page) => {
    const place = chain.pages.get(page)
    const where = place === undefined ? 'not in the chain' : `${place.dir} at ${place.offset}`
    return `  0x${(page * pageSize()).toString(16)}  ${where}  ${mappingOf(page, maps)}`
  })
  return [`${pages.length} ${what}:`, ...lines]
}

function mappingOf(page: number, maps: readonly string[]): string {
  const address = page * pageSize()
  return (
    maps.find((line) => {
      const [start = '', end = ''] = (line.split(' ')[0] ?? '').split('-')
      return Number(`0x${start}`) <= address && address < Number(`0x${end}`)
    }) ?? 'not mapped'
  )
}

/** Without CAP_SYS_ADMIN the oracle cannot tell the zero page from a page full of written zeros. */
function withoutZeros(pid: number, pages: readonly number[]): number[] {
  const zeros = Buffer.alloc(pageSize())
  return withProcessPages(pid, (readPage) => pages.filter((page) => !readPage(page).equals(zeros)))
}

/** The links of a chain, newest first. */
function readLinks(dir: string): Link[] {
  const links: Link[] = []
  const seen = new Set<string>()
  let next: string | undefined = realpathSync(dir)
  while (next !== undefined) {
    if (seen.has(next) || links.length > MAX_LINKS)
      throw new Error(`${dir}: the parent links loop at ${next}`)
    seen.add(next)
    links.push(readLink(next))
    next = parentOf(next)
  }
  return links
}

/** Real path of the parent images, undefined in the first link of a chain. */
function parentOf(dir: string): string | undefined {
  const path = join(dir, 'parent')
  if (lstatSync(path, { throwIfNoEntry: false }) === undefined) return undefined
  const target = readlinkSync(path)
  if (isAbsolute(target)) throw new Error(`${path} is not relative: ${target}`)
  if (!existsSync(path)) throw new Error(`${path} leads nowhere: ${target}`)
  return realpathSync(path)
}

function readLink(dir: string): Link {
  const names = readdirSync(dir).filter((name) => /^pagemap-\d+\.img$/.test(name))
  const [name = ''] = names
  if (names.length !== 1) throw new Error(`${dir} has ${names.length} pagemaps: ${names.join(' ')}`)
  const path = join(dir, name)
  const [head, ...messages] = messagesOf(readFileSync(path), path)
  const pagesId = head?.get(1)
  if (pagesId === undefined) throw new Error(`${path} names no pages file`)
  const entries: Entry[] = []
  let end = 0
  for (const message of messages) {
    const entry = entryOf(message, path)
    if (entry.firstPage < end)
      throw new Error(`${path}: the entry at page ${entry.firstPage} begins before page ${end}`)
    end = entry.firstPage + entry.count
    entries.push(entry)
  }
  return { dir, pagesFile: join(dir, `pages-${pagesId}.img`), entries }
}

function entryOf(fields: ReadonlyMap<number, bigint>, path: string): Entry {
  const address = Number(fields.get(1) ?? -1n)
  const count = Number(fields.get(5) ?? fields.get(2) ?? 0n)
  const flags = Number(fields.get(4) ?? (fields.get(3) === 1n ? 1n : 4n))
  if (address < 0 || address % pageSize() !== 0) throw new Error(`${path}: an entry at address ${address}`)
  if (count === 0) throw new Error(`${path}: an entry without pages at address ${address}`)
  const present = Math.floor(flags / FLAG_PRESENT) % 2 === 1
  if (!present && flags % 2 !== FLAG_PARENT) throw new Error(`${path}: flags ${flags} at address ${address}`)
  return { firstPage: address / pageSize(), count, inParent: !present }
}

/** Each message of an image file as a map of its fields. */
function messagesOf(bytes: Buffer, path: string): ReadonlyMap<number, bigint>[] {
  MAGICS.forEach((magic, index) => {
    if (bytes.readUInt32LE(4 * index) !== magic) throw new Error(`${path} is not a pagemap`)
  })
  const messages: ReadonlyMap<number, bigint>[] = []
  let offset = 4 * MAGICS.length
  while (offset < bytes.length) {
    const length = bytes.readUInt32LE(offset)
    const end = offset + 4 + length
    if (end > bytes.length) throw new Error(`${path} ends in the middle of a message`)
    messages.push(fieldsOf(bytes.subarray(offset + 4, end), path))
    offset = end
  }
  return messages
}

/** The fields of a protobuf message that has only varints. */
function fieldsOf(message: Buffer, path: string): ReadonlyMap<number, bigint> {
  const fields = new Map<number, bigint>()
  let offset = 0
  const varint = (): bigint => {
    let value = 0n
    for (let shift = 0n; shift < 70n; shift += 7n) {
      const byte = message[offset]
      if (byte === undefined) break
      offset += 1
      value += BigInt(byte % 128) << shift
      if (byte < 128) return value
    }
    throw new Error(`${path}: a number without an end`)
  }
  while (offset < message.length) {
    const key = varint()
    if (key % 8n !== 0n) throw new Error(`${path}: a field of wire type ${key % 8n}`)
    fields.set(Number(key / 8n), varint())
  }
  return fields
}

function parentPlace(parent: ReadonlyMap<number, PagePlace>, page: number, dir: string): PagePlace {
  const place = parent.get(page)
  if (place === undefined) {
    throw new Error(`${dir}: page 0x${(page * pageSize()).toString(16)} is a hole, and not in the parent`)
  }
  return place
}

function checkSize({ pagesFile }: Link, stored: number): void {
  const wanted = stored * pageSize()
  const size = existsSync(pagesFile) ? statSync(pagesFile).size : 0
  if (size !== wanted) throw new Error(`${pagesFile} has ${size} bytes, its pagemap wants ${wanted}`)
}
