/**
 * Parsing of /proc/PID/maps and of the VmFlags lines of /proc/PID/smaps, apart from opening them.
 *
 * A process with 60,000 VMAs has 6 MB of maps and 50 MB of smaps, and maps is parsed while the target
 * stands still: so bytes are read by hand, and a path is made a string only once.
 *
 * source: fs/proc/task_mmu.c show_map_vma, show_smap_vma_flags
 */
import type { Vma, VmFlags } from '../core/vma.js'

const SPACE = 0x20
const NEWLINE = 0x0a
const DASH = 0x2d
const COLON = 0x3a

/** The VMAs of a maps text, in address order, without flags. `pageSize` is in bytes. */
export function parseMaps(text: Buffer, pageSize: number): Vma[] {
  const reader = new LineReader(text)
  const vmas: Vma[] = []
  while (!reader.atEnd()) {
    const start = reader.hex(DASH)
    const end = reader.hex(SPACE)
    const permissions = reader.position
    reader.position += 5
    const fileOffset = reader.hex(SPACE)
    const devMajor = reader.hex(COLON)
    const devMinor = reader.hex(SPACE)
    const inode = reader.decimal()
    vmas.push({
      startPage: start / pageSize,
      endPage: end / pageSize,
      read: text[permissions] === 0x72,
      write: text[permissions + 1] === 0x77,
      execute: text[permissions + 2] === 0x78,
      shared: text[permissions + 3] === 0x73,
      fileOffset,
      devMajor,
      devMinor,
      inode,
      path: reader.path(),
      flags: undefined,
    })
  }
  return vmas
}

/**
 * `vmas` with the flags of those that an smaps text lists with the same range; the others stay as they are.
 *
 * @param vmas - in address order, as is the text
 */
export function addVmFlags(vmas: readonly Vma[], smaps: Buffer, pageSize: number): Vma[] {
  const sets = new Map<string, VmFlags>()
  const result = vmas.slice()
  let index = 0
  let header = 0
  for (;;) {
    // At the start of a line only: a path or a name of anonymous memory may hold the same word.
    const before = smaps.indexOf('\nVmFlags:', header)
    if (before < 0) return result
    const flagsAt = before + 1
    const lineEnd = smaps.indexOf(NEWLINE, flagsAt)
    const stop = lineEnd < 0 ? smaps.length : lineEnd
    const reader = new LineReader(smaps, header)
    const startPage = reader.hex(DASH) / pageSize
    const endPage = reader.hex(SPACE) / pageSize
    while (index < result.length && (result[index]?.startPage ?? 0) < startPage) index++
    const vma = result[index]
    if (vma?.startPage === startPage && vma.endPage === endPage) {
      result[index] = { ...vma, flags: internFlags(sets, smaps.toString('latin1', flagsAt + 8, stop)) }
    }
    header = stop + 1
  }
}

/**
 * First page and end of each VMA in an smaps text that a userfaultfd watches and of which nothing is in swap, in turn:
 * what looks swapped out there is a marker.
 */
export function swaplessWatched(smaps: Buffer, pageSize: number): number[] {
  const ranges: number[] = []
  let header = 0
  for (;;) {
    const before = smaps.indexOf('\nVmFlags:', header)
    if (before < 0) return ranges
    const lineEnd = smaps.indexOf(NEWLINE, before + 1)
    const stop = lineEnd < 0 ? smaps.length : lineEnd
    // source: fs/proc/task_mmu.c: um, uw and ui are the three modes of userfaultfd
    if (/ u[mwi](?: |$)/.test(smaps.toString('latin1', before, stop))) {
      const reader = new LineReader(smaps, header)
      const start = reader.hex(DASH) / pageSize
      const end = reader.hex(SPACE) / pageSize
      if (/\nSwap:\s+0 kB\n/.test(smaps.toString('latin1', header, before + 1))) ranges.push(start, end)
    }
    header = stop + 1
  }
}

/**
 * `vmas` with the flags of the lines in `known` that are the same to the last field; a changed line gets none.
 * Both lists are in address order.
 */
export function reuseVmFlags(vmas: readonly Vma[], known: readonly Vma[]): Vma[] {
  let index = 0
  return vmas.map((vma) => {
    while (index < known.length && (known[index]?.startPage ?? 0) < vma.startPage) index++
    const before = known[index]
    return before?.flags !== undefined && sameLine(vma, before) ? { ...vma, flags: before.flags } : vma
  })
}

function sameLine(a: Vma, b: Vma): boolean {
  return (
    a.startPage === b.startPage &&
    a.endPage === b.endPage &&
    a.read === b.read &&
    a.write === b.write &&
    a.execute === b.execute &&
    a.shared === b.shared &&
    a.fileOffset === b.fileOffset &&
    a.devMajor === b.devMajor &&
    a.devMinor === b.devMinor &&
    a.inode === b.inode &&
    a.path === b.path
  )
}

/** One set per distinct flags line: thousands of VMAs share a handful. */
function internFlags(sets: Map<string, VmFlags>, line: string): VmFlags {
  const known = sets.get(line)
  if (known !== undefined) return known
  const flags = new Set(line.trim().split(' '))
  sets.set(line, flags)
  return flags
}

/** Reads the columns of one line after the other. */
class LineReader {
  readonly #text: Buffer
  position: number

  constructor(text: Buffer, position = 0) {
    this.#text = text
    this.position = position
  }

  atEnd(): boolean {
    return this.position >= this.#text.length
  }

  /** A hexadecimal number up to `stop`, which is passed over. Exact below 2^53 and for page-aligned addresses. */
  hex(stop: number): number {
    let value = 0
    for (;;) {
      const byte = this.#text[this.position++] ?? stop
      if (byte === stop) return value
      value = value * 16 + (byte < COLON ? byte - 0x30 : byte - 0x57)
    }
  }

  /** A decimal number up to a space or the line's end, which is not passed over. */
  decimal(): number {
    let value = 0
    for (;;) {
      const byte = this.#text[this.position] ?? NEWLINE
      if (byte === SPACE || byte === NEWLINE) return value
      value = value * 10 + (byte - 0x30)
      this.position++
    }
  }

  /** What is left of the line without the padding before it; the line's end is passed over. */
  path(): string {
    while (this.#text[this.position] === SPACE) this.position++
    const start = this.position
    const end = this.#text.indexOf(NEWLINE, start)
    const stop = end < 0 ? this.#text.length : end
    this.position = stop + 1
    return start === stop ? '' : unescapePath(this.#text.toString('utf8', start, stop))
  }
}

/** The kernel writes a newline in a path as `\012`. source: fs/seq_file.c mangle_path */
function unescapePath(path: string): string {
  return path.includes('\\') ? path.replaceAll('\\012', '\n') : path
}
