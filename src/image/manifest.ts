/**
 * tidemark.json: the marker that makes a snapshot exist, and all about it that CRIU's images can't say.
 *
 * It is renamed into the images directory last, so a directory without it holds no snapshot of Tidemark.
 */
import { messageOf } from '../errors.js'
import { badImage } from './bad-image.js'
import { JsonFields } from './json-fields.js'

/** Name of the marker in an images directory. */
export const MANIFEST_NAME = 'tidemark.json'

/** Name of the symbolic link to the parent images in an images directory. source: criu/include/image.h CR_PARENT_LINK */
export const PARENT_LINK = 'parent'

/** The format that this version writes, and the only one it reads. */
export const FORMAT_VERSION = 1

/** An image and its size in bytes. */
export interface ImageFile {
  /** Without a folder. */
  readonly name: string
  readonly bytes: number
}

/** The process that was dumped. */
export interface SnapshotTarget {
  /** As the user gave it. */
  readonly pid: number
  /** In the process's own PID namespace: the one in the images' names. */
  readonly nsPid: number
  /** Clock ticks since boot, field 22 of /proc/PID/stat; with `bootId` it tells a reused PID. */
  readonly startTimeTicks: number
  /** /proc/sys/kernel/random/boot_id */
  readonly bootId: string
  readonly exe: string
  readonly comm: string
  /** Hex of the 16 bytes at AT_RANDOM: they change with exec, which PID and start time survive. */
  readonly auxRandom: string
  /** Number of threads. */
  readonly threads: number
}

/** How the content was taken: of a standing process, or of one that ran on, where only a later dump makes it consistent. */
export const SNAPSHOT_KINDS = ['dump', 'pre-dump'] as const

/** The parent images that a snapshot's holes point into. */
export interface SnapshotParent {
  /** Relative to the images directory, the target of its `parent` link. */
  readonly link: string
  /** The parent's own id; empty for images that CRIU wrote. */
  readonly snapshotId: string
}

/** How much a snapshot holds. */
export interface SnapshotCounts {
  readonly vmas: number
  readonly pagesScanned: number
  readonly pagesStored: number
  /** Holes: pages whose content is in the parent images. */
  readonly pagesInParent: number
  /** Pages that were clean by the tracker and that the parent lacked: stored. */
  readonly cleanNotInParent: number
  /** Runs in the pagemap. */
  readonly runs: number
  /** Of pages-N.img. */
  readonly bytesStored: number
}

/** Memory of the process that neither the snapshot nor a file holds. */
export interface MissingMemory {
  readonly reason: string
  /** Addresses in hex, `0x` first; `end` is exclusive. */
  readonly start: string
  readonly end: string
  readonly path: string
  readonly pages: number
}

/** What tidemark.json says. */
export interface Manifest {
  readonly formatVersion: typeof FORMAT_VERSION
  readonly tidemarkVersion: string
  /** A UUID. */
  readonly snapshotId: string
  readonly kind: (typeof SNAPSHOT_KINDS)[number]
  /** Undefined for a full snapshot. */
  readonly parent: SnapshotParent | undefined
  /** What watches the process since this snapshot; empty where nothing does. */
  readonly tracker: string
  /** Why the snapshot is full though a parent was given; empty where it was not, or is not full. */
  readonly fullBecause: string
  /** ISO 8601, UTC. */
  readonly createdAt: string
  /** In bytes. */
  readonly pageSize: number
  readonly target: SnapshotTarget
  /** The N of pages-N.img. */
  readonly pagesId: number
  readonly counts: SnapshotCounts
  /** Every other file of the snapshot. */
  readonly files: readonly ImageFile[]
  /** Whether `missing` is empty. */
  readonly complete: boolean
  readonly missing: readonly MissingMemory[]
  readonly warnings: readonly string[]
  /** Time of each step, in microseconds. */
  readonly stats: Readonly<Record<string, number>>
}

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/
const UUID_OR_NONE = /^([0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})?$/
const ISO_DATE = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$/
const ADDRESS = /^0x[0-9a-f]{1,16}$/
// What a marker names is removed when a killed run is cleaned up: never a path, never a hidden file.
const FILE_NAME = /^[A-Za-z0-9][A-Za-z0-9._-]*$/

/** The bytes of tidemark.json. */
export function encodeManifest(manifest: Manifest): Uint8Array {
  return Buffer.from(`${JSON.stringify(manifest, undefined, 2)}\n`)
}

/** The manifest in `bytes`. Throws `BAD_IMAGE`, naming the field, on any missing or wrong one. Unknown fields are skipped. */
export function decodeManifest(bytes: Uint8Array, path: string): Manifest {
  const fields = new JsonFields(parseJson(bytes, path), path)
  const formatVersion = fields.count('formatVersion')
  if (formatVersion !== FORMAT_VERSION) {
    const what = `formatVersion ${formatVersion} is unknown, this Tidemark reads ${String(FORMAT_VERSION)}`
    throw badImage(path, `${what}: use the version that wrote it, or a newer one`)
  }
  return {
    formatVersion,
    tidemarkVersion: fields.text('tidemarkVersion'),
    snapshotId: fields.text('snapshotId', UUID),
    kind: decodeKind(fields, path),
    parent: fields.has('parent') ? decodeParent(fields.object('parent')) : undefined,
    tracker: fields.text('tracker'),
    fullBecause: fields.text('fullBecause'),
    createdAt: fields.text('createdAt', ISO_DATE),
    pageSize: decodePageSize(fields, path),
    target: decodeTarget(fields.object('target')),
    pagesId: fields.count('pagesId'),
    counts: decodeCounts(fields.object('counts')),
    files: fields.objects('files', (file) => ({
      name: file.text('name', FILE_NAME),
      bytes: file.count('bytes'),
    })),
    complete: fields.flag('complete'),
    missing: fields.objects('missing', decodeMissing),
    warnings: fields.texts('warnings'),
    stats: fields.numbers('stats'),
  }
}

function parseJson(bytes: Uint8Array, path: string): unknown {
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes))
  } catch (error) {
    throw badImage(path, `it is no JSON, or truncated: ${messageOf(error)}`)
  }
}

function decodePageSize(fields: JsonFields, path: string): number {
  const pageSize = fields.count('pageSize')
  if (pageSize === 0 || !Number.isInteger(Math.log2(pageSize))) {
    throw badImage(path, `field pageSize is not a power of two: ${pageSize}`)
  }
  return pageSize
}

function decodeKind(fields: JsonFields, path: string): Manifest['kind'] {
  const kind = fields.text('kind')
  const known = SNAPSHOT_KINDS.find((name) => name === kind)
  if (known === undefined) throw badImage(path, `field kind is unknown: ${kind}`)
  return known
}

function decodeParent(fields: JsonFields): SnapshotParent {
  return { link: fields.text('link'), snapshotId: fields.text('snapshotId', UUID_OR_NONE) }
}

function decodeTarget(fields: JsonFields): SnapshotTarget {
  return {
    pid: fields.count('pid'),
    nsPid: fields.count('nsPid'),
    startTimeTicks: fields.count('startTimeTicks'),
    bootId: fields.text('bootId', UUID),
    exe: fields.text('exe'),
    comm: fields.text('comm'),
    auxRandom: fields.text('auxRandom', /^[0-9a-f]{32}$/),
    threads: fields.count('threads'),
  }
}

function decodeCounts(fields: JsonFields): SnapshotCounts {
  return {
    vmas: fields.count('vmas'),
    pagesScanned: fields.count('pagesScanned'),
    pagesStored: fields.count('pagesStored'),
    pagesInParent: fields.count('pagesInParent'),
    cleanNotInParent: fields.count('cleanNotInParent'),
    runs: fields.count('runs'),
    bytesStored: fields.count('bytesStored'),
  }
}

function decodeMissing(fields: JsonFields): MissingMemory {
  return {
    reason: fields.text('reason'),
    start: fields.text('start', ADDRESS),
    end: fields.text('end', ADDRESS),
    path: fields.text('path'),
    pages: fields.count('pages'),
  }
}
