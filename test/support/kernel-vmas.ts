/**
 * The VMAs of a process as smaps tells them. Part of the oracle: independent of the code under test.
 */
import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { taskStates } from './processes.js'

/** One VMA of a process. */
export interface KernelVma {
  readonly startPage: number
  /** Exclusive. */
  readonly endPage: number
  /** MAP_SHARED. */
  readonly shared: boolean
  /** A file backs it: it has an inode. */
  readonly fileBacked: boolean
  /** Last column of maps; empty for anonymous memory. */
  readonly path: string
  /** The two-letter words of VmFlags. source: fs/proc/task_mmu.c, show_smap_vma_flags */
  readonly flags: ReadonlySet<string>
}

let knownPageSize = 0

/** Bytes in a page, as getconf tells. */
export function pageSize(): number {
  if (knownPageSize === 0) knownPageSize = Number(execFileSync('getconf', ['PAGESIZE'], { encoding: 'utf8' }))
  return knownPageSize
}

/**
 * The directory in /proc of a live thread of `pid`: a main thread that has ended while others live has no
 * memory to show. Throws where no thread is left.
 */
export function taskDirectory(pid: number): string {
  for (const [tid, state] of taskStates(pid)) {
    if (state !== 'Z' && state !== 'X') return `/proc/${pid}/task/${tid}`
  }
  throw new Error(`process ${pid} has no live thread`)
}

/** All VMAs of `pid`, in address order. */
export function readVmas(pid: number): readonly KernelVma[] {
  const directory = taskDirectory(pid)
  const vmas = parseSmaps(readFileSync(`${directory}/smaps`, 'latin1'))
  const lines = readFileSync(`${directory}/maps`, 'latin1').trimEnd().split('\n')
  if (lines.length !== vmas.length)
    throw new Error(`maps has ${String(lines.length)} lines, smaps ${String(vmas.length)}`)
  return vmas
}

/** The VMAs that the text of an smaps file lists. */
export function parseSmaps(text: string): readonly KernelVma[] {
  const vmas: KernelVma[] = []
  let header: RegExpExecArray | undefined
  for (const line of text.split('\n')) {
    const found = /^([0-9a-f]+)-([0-9a-f]+) ([-rwxsp]{4}) \S+ \S+ (\d+)\s*(.*)$/.exec(line)
    if (found !== null) header = found
    else if (line.startsWith('VmFlags:') && header !== undefined) {
      vmas.push(vmaOf(header, line))
      header = undefined
    }
  }
  return vmas
}

function vmaOf(header: RegExpExecArray, flagsLine: string): KernelVma {
  const [, start = '', end = '', permissions = '', inode = '', path = ''] = header
  return {
    startPage: pageNumber(start),
    endPage: pageNumber(end),
    shared: permissions.endsWith('s'),
    fileBacked: inode !== '0',
    path,
    flags: new Set(flagsLine.slice('VmFlags:'.length).trim().split(' ')),
  }
}

/** Page number of a hex address. By BigInt: [vsyscall] lies above 2^53. */
function pageNumber(address: string): number {
  return Number(BigInt(`0x${address}`) / BigInt(pageSize()))
}
