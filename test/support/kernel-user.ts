/**
 * The victim test/victims/kernel-user.c, compiled where there is a C compiler, and what /proc tells of it.
 */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, expect } from '@jest/globals'
import { hasCompiler } from './self-checking.js'
import { withVictim, type Victim } from './victim.js'

/** Why tests with it are skipped where there is no compiler. */
export const NO_KERNEL_USER = 'needs gcc'

const SOURCE = fileURLToPath(new URL('../../../test/victims/kernel-user.c', import.meta.url))

/** Runs `use` with a running program, which ends afterwards, whatever happens. */
export type RunKernelUser = <Result>(
  args: readonly string[],
  use: (victim: Victim) => Promise<Result>,
) => Promise<Result>

/** The program, compiled with `flags` before the first test of this file and removed after the last. */
export function kernelUser(flags: readonly string[] = []): RunKernelUser {
  let folder = ''
  beforeAll(() => {
    if (!hasCompiler) return
    folder = mkdtempSync(join(tmpdir(), 'kernel-user-'))
    const words = ['-O1', '-w', '-pthread', ...flags, '-o', join(folder, 'program'), SOURCE]
    const { status, stderr } = spawnSync('gcc', words, { encoding: 'utf8' })
    if (status !== 0) throw new Error(`gcc failed: ${stderr}`)
  })
  afterAll(() => {
    rmSync(folder, { recursive: true, force: true })
  })
  return (args, use) => withVictim('kernel-user', args, use, { executable: join(folder, 'program') })
}

/** VMAs of `pid` that a userfaultfd watches, by their flags `uw`, `um` and `ui`, each with its range. */
export function watchedVmas(pid: number): string[] {
  const found: string[] = []
  let range = ''
  for (const line of readFileSync(`/proc/${pid}/smaps`, 'latin1').split('\n')) {
    range = /^[0-9a-f]+-[0-9a-f]+ /.exec(line)?.[0] ?? range
    const flags = /^VmFlags:.*/.exec(line)?.[0].match(/\bu[wmi]\b/g) ?? []
    if (flags.length > 0) found.push(range + flags.join(' '))
  }
  return found
}

/** Numbers and links of the descriptors of thread `tid`; those that close meanwhile are left out. */
export function descriptorsOf(tid: number): string[] {
  const folder = `/proc/${tid}/fd`
  return readdirSync(folder).flatMap((fd) => {
    try {
      return [`${fd} ${readlinkSync(join(folder, fd))}`]
    } catch {
      return []
    }
  })
}

/** Fails unless thread `tid` has no userfaultfd, and none watches a VMA of its process. */
export function expectUntracked(tid: number): void {
  expect(descriptorsOf(tid).filter((line) => line.includes('userfaultfd'))).toEqual([])
  expect(watchedVmas(tid)).toEqual([])
}
