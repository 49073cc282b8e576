/**
 * The lines of /proc/PID/maps, for tests that compare them with what the command prints.
 */
import { readFileSync } from 'node:fs'
import { taskDirectory } from './kernel-vmas.js'

/** A line of maps; addresses in hex without `0x`. */
export interface MapsLine {
  readonly start: string
  /** Exclusive. */
  readonly end: string
  readonly permissions: string
  /** Last column, empty for most anonymous memory. */
  readonly path: string
  /** Whether the mapping has an inode. */
  readonly fileBacked: boolean
}

/** All lines, in address order, without leading zeros in the addresses. */
export function readMapsLines(pid: number): readonly MapsLine[] {
  const text = readFileSync(`${taskDirectory(pid)}/maps`, 'latin1')
  return text
    .trimEnd()
    .split('\n')
    .map((line) => {
      const found = /^0*([0-9a-f]+)-0*([0-9a-f]+) (\S{4}) \S+ \S+ (\d+)\s*(.*)$/.exec(line)
      const [, start = '0', end = '0', permissions = '', inode = '0', path = ''] = found ?? []
      return { start, end, permissions, path, fileBacked: inode !== '0' }
    })
}
