/**
 * Images written by hand, for tests of what reads them: pagemap and pages files, right or wrong in any way.
 */
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { pageSize } from './kernel-vmas.js'

/** A page's bytes, or `parent` for a hole. */
export type Held = Buffer | 'parent'

/** A pagemap entry's fields by number. source: images/pagemap.proto */
export type Fields = readonly (readonly [field: number, value: number])[]

const VADDR = 1
const COMPAT_NR_PAGES = 2
const FLAGS = 4
const NR_PAGES = 5

/** Writes the images directory `dir` that holds `pages`, in this order; `parent` is what its link says. */
export function writeLink(dir: string, pages: ReadonlyMap<number, Held>, parent?: string): void {
  const entries: Fields[] = []
  const content: Buffer[] = []
  let run: { first: number; end: number; hole: boolean } | undefined
  const close = (): void => {
    if (run !== undefined) entries.push(entryFields(run.first, run.end - run.first, run.hole ? 1 : 4))
  }
  for (const [page, held] of pages) {
    const hole = held === 'parent'
    if (!hole) content.push(held)
    if (run?.end === page && run.hole === hole) run.end += 1
    else {
      close()
      run = { first: page, end: page + 1, hole }
    }
  }
  close()
  writeImages(dir, entries, Buffer.concat(content), parent)
}

/** The usual fields of an entry. */
export function entryFields(firstPage: number, count: number, flags: number): Fields {
  return [
    [VADDR, firstPage * pageSize()],
    [COMPAT_NR_PAGES, count],
    [FLAGS, flags],
    [NR_PAGES, count],
  ]
}

/** Writes pagemap-1.img with `entries`, pages-1.img with `content`, and the link. */
export function writeImages(dir: string, entries: readonly Fields[], content: Buffer, parent?: string): void {
  mkdirSync(dir)
  const magics = Buffer.alloc(8)
  magics.writeUInt32LE(0x54564319, 0)
  magics.writeUInt32LE(0x56084025, 4)
  const head: Fields = [[1, 1]]
  writeFileSync(join(dir, 'pagemap-1.img'), Buffer.concat([magics, ...[head, ...entries].map(framed)]))
  writeFileSync(join(dir, 'pages-1.img'), content)
  if (parent !== undefined) symlinkSync(parent, join(dir, 'parent'))
}

function framed(fields: Fields): Buffer {
  const message = Buffer.concat(fields.map(([field, value]) => Buffer.from([8 * field, ...varint(value)])))
  const length = Buffer.alloc(4)
  length.writeUInt32LE(message.length)
  return Buffer.concat([length, message])
}

function varint(value: number): number[] {
  return value < 128 ? [value] : [(value % 128) + 128, ...varint(Math.floor(value / 128))]
}
