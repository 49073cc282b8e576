/**
 * Dumps as tests make and judge them: the command is run, and what it wrote is read back and compared with the
 * process by the oracle.
 */
import { createHash } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect } from '@jest/globals'
import { PE_PRESENT } from '../../src/image/pagemap.js'
import { readSnapshot, type Snapshot, type SnapshotImages } from '../../src/image/snapshot.js'
import { type Facts, parseFacts } from './facts.js'
import { pageSize } from './kernel-vmas.js'
import {
  type Comparison,
  compareWithProcess,
  type ExpectedPages,
  expectedPages,
  withProcessPages,
} from './oracle.js'
import { isRoot } from './privileges.js'
import { runTool, type ToolOptions, type ToolRun } from './tool.js'

/** Numbers of the pages that the pages file of a snapshot holds, ascending. */
export function* storedPages({ pagemap }: SnapshotImages): Generator<number> {
  for (let row = 0; row < pagemap.count; row += 1) {
    if (((pagemap.flags[row] ?? 0) & PE_PRESENT) === 0) continue
    const first = pagemap.startPage[row] ?? 0
    const end = first + (pagemap.pageCount[row] ?? 0)
    for (let page = first; page < end; page += 1) yield page
  }
}

/** Runs `use` with the snapshot in `imagesDir`, and closes it. */
export function withSnapshot<Result>(imagesDir: string, use: (snapshot: Snapshot) => Result): Result {
  const snapshot = readSnapshot(imagesDir)
  try {
    return use(snapshot)
  } finally {
    snapshot.close()
  }
}

/** How the snapshot in `imagesDir` differs from the stopped process `pid`. */
function compareSnapshot(pid: number, imagesDir: string): Comparison {
  return withSnapshot(imagesDir, (snapshot) =>
    compareWithProcess(pid, {
      storedPages: () => storedPages(snapshot.images),
      readPage: (page) => snapshot.readPage(page),
    }),
  )
}

/**
 * What a snapshot of the stopped process `pid` must and may hold, as far as we may know: without CAP_SYS_ADMIN
 * the oracle cannot tell the zero page, which is not stored, from a page full of written zeros, which is.
 */
export function knownPages(pid: number): ExpectedPages {
  const { required, optional } = expectedPages(pid)
  if (isRoot) return { required, optional }
  const zeros = new Set(zeroPages(pid, required))
  return {
    required: required.filter((page) => !zeros.has(page)),
    optional: new Set([...optional, ...zeros]),
  }
}

/** Those of `pages` that are all zeros. */
function zeroPages(pid: number, pages: readonly number[]): number[] {
  const zeros = Buffer.alloc(pageSize())
  return withProcessPages(pid, (readPage) => pages.filter((page) => readPage(page).equals(zeros)))
}

/** Fails unless the snapshot in `imagesDir` holds exactly the memory of the stopped process `pid`; pages compared. */
export function expectSameMemory(pid: number, imagesDir: string): number {
  const { compared, differing, missing, extra } = compareSnapshot(pid, imagesDir)
  const excused = new Set(isRoot ? [] : zeroPages(pid, missing))
  const wrong = { differing, missing: missing.filter((page) => !excused.has(page)), extra }
  expect(wrong).toEqual({ differing: [], missing: [], extra: [] })
  expect(compared).toBeGreaterThan(0)
  return compared
}

/** Runs `tidemark dump` without waiting for the disk; `words` are further options. */
export async function runDump(
  pid: number,
  imagesDir: string,
  words: readonly string[] = [],
  options: ToolOptions = {},
): Promise<ToolRun> {
  return runTool(dumpWords(pid, imagesDir, words), options)
}

/** The words of the command line that {@link runDump} runs. */
export function dumpWords(
  pid: number | string,
  imagesDir: string,
  words: readonly string[] = [],
): readonly string[] {
  return ['dump', '-t', String(pid), '-D', imagesDir, '--no-sync', ...words]
}

/** Dumps with `--json`, fails unless that succeeds, and returns the result. */
export async function dumpResult(
  pid: number,
  imagesDir: string,
  words: readonly string[] = [],
  options: ToolOptions = {},
): Promise<Facts> {
  const run = await runDump(pid, imagesDir, ['--json', ...words], options)
  expect([run.status, run.stderr.replace(/^tidemark: warning: .*\n/gm, '')]).toEqual([0, ''])
  return parseFacts(run.stdout)
}

/** SHA-256 of each file in `directory` whose name matches `pattern`, by name. */
export function digests(directory: string, pattern: RegExp): Readonly<Record<string, string>> {
  const names = readdirSync(directory).filter((name) => pattern.test(name))
  return Object.fromEntries(
    names.sort().map((name) => [
      name,
      createHash('sha256')
        .update(readFileSync(join(directory, name)))
        .digest('hex'),
    ]),
  )
}
