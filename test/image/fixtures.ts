/** Small plans, VMAs, manifests and folders that the tests of this layer share. */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import { codeOf } from '../../src/errors.js'
import type { DumpPlan } from '../../src/core/plan.js'
import type { Vma } from '../../src/core/vma.js'
import { FORMAT_VERSION, type ImageFile, type Manifest } from '../../src/image/manifest.js'

/** A plan that stores the runs `[first page, pages]` and leaves those of `holes` to the parent. */
export function planOf(
  runs: readonly (readonly [number, number])[],
  holes: readonly (readonly [number, number])[] = [],
): DumpPlan {
  const offsets = [0]
  for (const [, pages] of runs) offsets.push((offsets.at(-1) ?? 0) + pages)
  return {
    runCount: runs.length,
    startPage: Float64Array.from(runs, ([start]) => start),
    offsetPages: Float64Array.from(offsets),
    holes: {
      count: holes.length,
      startPage: Float64Array.from(holes, ([start]) => start),
      pageCount: Float64Array.from(holes, ([, pages]) => pages),
    },
  }
}

/** The VMA of a line of maps. */
export function vmaOf(line: string, flags = ''): Vma {
  const match =
    /^([0-9a-f]+)-([0-9a-f]+) (r|-)(w|-)(x|-)(s|p) ([0-9a-f]+) ([0-9a-f]+):([0-9a-f]+) (\d+) *(.*)$/.exec(
      line,
    )
  if (match === null) throw new Error(`no line of maps: ${line}`)
  const [, start, end, read, write, execute, sharing, offset, major, minor, inode, path] = match
  return {
    startPage: Number(BigInt(`0x${start ?? ''}`) / 4096n),
    endPage: Number(BigInt(`0x${end ?? ''}`) / 4096n),
    read: read === 'r',
    write: write === 'w',
    execute: execute === 'x',
    shared: sharing === 's',
    fileOffset: Number(`0x${offset ?? ''}`),
    devMajor: Number(`0x${major ?? ''}`),
    devMinor: Number(`0x${minor ?? ''}`),
    inode: Number(inode),
    path: path ?? '',
    flags: new Set(flags.split(' ')),
  }
}

/** A valid manifest that names `files`. */
export function manifestOf(files: readonly ImageFile[]): Manifest {
  return {
    formatVersion: FORMAT_VERSION,
    tidemarkVersion: '0.1.0',
    snapshotId: '01234567-89ab-cdef-0123-456789abcdef',
    kind: 'dump',
    parent: undefined,
    tracker: '',
    fullBecause: '',
    createdAt: '2025-11-23T19:00:00.000Z',
    pageSize: 4096,
    target: {
      pid: 4711,
      nsPid: 7,
      startTimeTicks: 123456,
      bootId: '89abcdef-0123-4567-89ab-cdef01234567',
      exe: '/usr/bin/sleep',
      comm: 'sleep',
      auxRandom: '00112233445566778899aabbccddeeff',
      threads: 1,
    },
    pagesId: 1,
    counts: {
      vmas: 1,
      pagesScanned: 8,
      pagesStored: 3,
      pagesInParent: 0,
      cleanNotInParent: 0,
      runs: 2,
      bytesStored: 12288,
    },
    files,
    complete: false,
    missing: [{ reason: 'memfd', start: '0x1000', end: '0x3000', path: '/memfd:x (deleted)', pages: 2 }],
    warnings: ['the clock is wrong'],
    stats: { freezeUs: 142.5, thawUs: 12 },
  }
}

/** Runs `test` in a new folder, which is removed after it. */
export async function inFolder(test: (folder: string) => Promise<void> | void): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'tidemark-image-'))
  try {
    await test(folder)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

/** The error that `action` throws; fails if it throws none. */
export function thrownBy(action: () => unknown): unknown {
  try {
    action()
  } catch (error) {
    return error
  }
  throw new Error('nothing was thrown')
}

/** The `details` of one of our errors. */
export function detailsOf(error: unknown): unknown {
  return typeof error === 'object' && error !== null && 'details' in error ? error.details : undefined
}

/** Whether CRIU's image tool is installed; says why tests that need it are skipped. */
export function hasCrit(): boolean {
  const found = codeOf(spawnSync('crit', ['--help']).error) === undefined
  if (!found) process.stderr.write('skipped: crit is not installed (Debian package criu)\n')
  return found
}

/** What `crit decode` makes of an image: its magic's name and its messages, numbers as in the JSON. */
export function critDecode(path: string): { magic: string; entries: Record<string, unknown>[] } {
  const result = spawnSync('crit', ['decode', '-i', path], { encoding: 'utf8', maxBuffer: 1 << 28 })
  if (result.status !== 0) throw new Error(`crit decode ${path}: ${result.stderr}`)
  const image: unknown = JSON.parse(result.stdout)
  if (!isImage(image)) throw new Error(`crit decode ${path}: ${result.stdout}`)
  return image
}

/** What a crit command prints. */
export function crit(...args: readonly string[]): string {
  const result = spawnSync('crit', args, { encoding: 'utf8' })
  if (result.status !== 0) throw new Error(`crit ${args.join(' ')}: ${result.stderr}`)
  return result.stdout
}

function isImage(value: unknown): value is { magic: string; entries: Record<string, unknown>[] } {
  return typeof value === 'object' && value !== null && 'magic' in value && 'entries' in value
}
