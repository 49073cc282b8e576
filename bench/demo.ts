/**
 * The demo: a process of ours is dumped while it runs and left stopped, the images are read back, and every
 * page is compared with the process's own memory by the tests' oracle, which shares no code with the dump.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { dump, isTidemarkError, readSnapshot, type CaptureMethod, type DumpResult } from '../src/index.js'
import { formatBytes, formatMicros, formatRate, plural } from '../src/cli/units.js'
import { compareWithProcess, type Comparison } from '../test/support/oracle.js'
import { withVictim } from '../test/support/victim.js'

const VMAS = 1000
const PAGES_PER_VMA = 64
const EXAMPLES = 5

/** The steps of the frozen window as a bar each, the longest as wide as the screen allows. */
function frozenBars({ frozen, wall }: DumpResult): string[] {
  const steps = [
    ['seize', frozen.seizeUs, 'every thread brought to a stand by ptrace'],
    ['checks', frozen.checksUs, 'still the same program, and nobody else writes to its memory'],
    ['maps', frozen.mapsUs, 'VMAs listed'],
    ['scan', frozen.scanUs, 'page tables read into bitmaps by all workers'],
    ['plan', frozen.planUs, 'bitmaps made into runs with file offsets'],
    ['capture', frozen.captureUs, 'pages copied to staging memory by all workers'],
    ['thaw', frozen.thawUs, 'threads let go'],
  ] as const
  return steps.map(([name, micros, what]) => {
    const bar = '#'.repeat(Math.max(1, Math.round((micros / wall.frozenUs) * 24)))
    return `    ${name.padEnd(8)}${formatMicros(micros).padStart(9)}  ${bar.padEnd(24)}  ${what}`
  })
}

function report(result: DumpResult, comparison: Comparison): void {
  const { wall, workers, pageSize } = result
  const lines = [
    `process ${String(result.pid)} (${result.comm}): ${plural(result.threads, 'thread')}, ${plural(result.vmas, 'VMA')}`,
    `  stored   ${plural(result.pagesStored, 'page')}, ${formatBytes(result.bytesStored)}, in ${plural(result.runs, 'run')}; found by ${result.scanner}`,
    `  frozen   ${formatMicros(wall.frozenUs)}`,
    ...frozenBars(result),
    `  capture  ${formatRate(result.bytesStored, result.frozen.captureUs)} while frozen; written after the thaw at ${formatRate(result.stagedBytes, wall.writeUs)}`,
    `  wall     ${formatMicros(wall.totalUs)}: start ${formatMicros(wall.startUs)}, prepare ${formatMicros(wall.prepareUs)}, frozen, write ${formatMicros(wall.writeUs)}, sync and publish ${formatMicros(wall.publishUs)}`,
    ...workers.map(
      (share, thread) =>
        `  worker ${String(thread)} scanned ${plural(share.scannedPages, 'page')}, copied ${formatBytes(share.copiedPages * pageSize)}, wrote ${formatBytes(share.writtenPages * pageSize)}`,
    ),
    ...result.warnings.map((warning) => `  warning: ${warning}`),
    '',
    `compared ${plural(comparison.compared, 'page')} of the images with the process's own memory: ` +
      `${String(comparison.differing.length)} differ, ${String(comparison.missing.length)} missing, ${String(comparison.extra.length)} too many`,
  ]
  console.log(lines.join('\n'))
}

/** Dumps the victim into `folder`, leaves it stopped, and compares: from a fork, and copied while it stands. */
async function dumpBothWays(pid: number, folder: string): Promise<boolean> {
  let isRight = true
  for (const capture of ['fork', 'copy'] as const) {
    const right = await dumpAndCompare(pid, join(folder, capture), capture)
    isRight &&= right
  }
  return isRight
}

async function dumpAndCompare(pid: number, imagesDir: string, capture: CaptureMethod): Promise<boolean> {
  const result = await dump({ pid, imagesDir, capture, leaveStopped: true })
  const snapshot = readSnapshot(result.imagesDir)
  try {
    const comparison = compareWithProcess(pid, {
      readPage: (page) => snapshot.readPage(page),
      storedPages: () => snapshot.storedPages(),
    })
    if (result.capture.method === 'copy') report(result, comparison)
    else
      console.log(
        `frozen ${formatMicros(result.wall.frozenUs)} for a fork, from which everything is read while it could run on`,
      )
    const { compared, differing, missing, extra } = comparison
    for (const page of [...differing, ...missing, ...extra].slice(0, EXAMPLES)) {
      console.log(`  page 0x${(page * result.pageSize).toString(16)} is wrong`)
    }
    return compared > 0 && differing.length + missing.length + extra.length === 0
  } finally {
    snapshot.close()
  }
}

const folder = mkdtempSync(join(tmpdir(), 'tidemark-demo-'))
try {
  const args = ['--vmas', String(VMAS), '--pages-per-vma', String(PAGES_PER_VMA), '--gap']
  console.log(
    `starting a process with ${formatBytes(VMAS * PAGES_PER_VMA * 4096)} in ${plural(VMAS, 'mapping')} ...`,
  )
  const right = await withVictim('plain', args, (victim) => dumpBothWays(victim.pid, folder))
  console.log(right ? 'every page is right' : 'THE SNAPSHOT IS WRONG')
  if (!right) process.exitCode = 1
} catch (error) {
  if (!isTidemarkError(error)) throw error
  console.error(`${error.code}: ${error.message}`)
  process.exitCode = 1
} finally {
  rmSync(folder, { recursive: true, force: true })
}
