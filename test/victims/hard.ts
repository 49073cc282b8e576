/**
 * Victim: one process with every kind of mapping that a dumper has been seen to get wrong.
 *
 * Facts: `regions`, each with the pages that a snapshot must hold, and `missing`, what this kernel lacks. The
 * files of the mappings lie in TMPDIR, which the starter removes.
 */
import { readFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import {
  changedRegions,
  emptyRegions,
  extremeRegions,
  flaggedRegions,
  guardRegions,
  hugeRegions,
  lockedRegion,
  patternRegion,
  protectionRegions,
} from './anonymous-regions.js'
import { PAGE_SIZE } from './content.js'
import { privateFileRegions, secretRegion, sharedRegions, sysvRegion } from './file-regions.js'
import { addressOf, systemCall } from './libc.js'
import { fill, HUGE_PAGES, MAP, mapPages, readPages } from './memory.js'
import { allStored, type Attempt, noneStored, optionalRegion } from './regions.js'
import { serve } from './session.js'

const SYS_MLOCK = 149
const SYS_IO_SETUP = 206
const AIO_EVENTS = 512

function droppableRegion(): Attempt {
  return optionalRegion('MAP_DROPPABLE', () => {
    const address = mapPages(16, { flags: MAP.DROPPABLE + MAP.ANONYMOUS })
    fill(address, 16, 1)
    return noneStored('droppable', address, 16)
  })
}

/** A private hugetlb mapping, where the machine's owner has reserved such pages. */
function hugetlbRegion(): Attempt {
  return optionalRegion('reserved huge pages', () => {
    const address = mapPages(HUGE_PAGES, { flags: MAP.PRIVATE + MAP.ANONYMOUS + MAP.HUGETLB })
    fill(address, HUGE_PAGES, 1)
    return allStored('hugetlb', address, HUGE_PAGES)
  })
}

/** The ring of the kernel's asynchronous I/O: shared memory of a nameless file, and yet stored. */
function aioRegion(): Attempt {
  return optionalRegion('AIO', () => {
    const context = Buffer.alloc(8)
    systemCall('io_setup', SYS_IO_SETUP, AIO_EVENTS, addressOf(context))
    const start = Number(context.readBigUInt64LE())
    const pages = mappedPages(start)
    readPages(start, pages)
    return allStored('aio-ring', start, pages)
  })
}

function mappedPages(start: number): number {
  const prefix = `${start.toString(16)}-`
  const line = readFileSync('/proc/self/maps', 'latin1')
    .split('\n')
    .find((candidate) => candidate.startsWith(prefix))
  const end = line?.slice(prefix.length).split(' ')[0]
  if (end === undefined) throw new Error(`nothing is mapped at ${start.toString(16)}`)
  return (Number.parseInt(end, 16) - start) / PAGE_SIZE
}

function hugeMemoryKilobytes(): number {
  const found = /^AnonHugePages:\s+(\d+) kB/m.exec(readFileSync('/proc/self/smaps_rollup', 'latin1'))
  return Number(found?.[1] ?? 0)
}

const directory = tmpdir()
const attempts: readonly Attempt[] = [
  { regions: protectionRegions(), missing: [] },
  { regions: emptyRegions(), missing: [] },
  { regions: hugeRegions(), missing: [] },
  { regions: changedRegions(), missing: [] },
  { regions: flaggedRegions(), missing: [] },
  { regions: [patternRegion()], missing: [] },
  { regions: privateFileRegions(directory), missing: [] },
  { regions: sharedRegions(directory), missing: [] },
  guardRegions(),
  ...extremeRegions(),
  lockedRegion((address, byteLength) => {
    systemCall('mlock', SYS_MLOCK, address, byteLength)
  }),
  sysvRegion(),
  secretRegion(),
  droppableRegion(),
  hugetlbRegion(),
  aioRegion(),
]

serve({
  regions: attempts.flatMap((attempt) => attempt.regions),
  missing: attempts.flatMap((attempt) => attempt.missing),
  anonHugeKilobytes: hugeMemoryKilobytes(),
})
