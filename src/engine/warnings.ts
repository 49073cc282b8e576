/** What a user must know of a snapshot that succeeded: memory that it lacks, processes that it left out. */
import type { MissingRange, MissingReason } from '../core/fate.js'
import { pageSize } from '../kernel/page-size.js'
import { listThreads, readProcText } from '../kernel/procfs.js'
import { countUnreadable } from './result.js'
import type { Taken } from './taken.js'

const REASONS: Readonly<Record<MissingReason, string>> = {
  'shared-anonymous': 'shared anonymous memory',
  'sysv-shm': 'System V shared memory',
  memfd: 'memfd memory',
  'deleted-file': 'pages of a deleted file that the process has not changed',
  'device-memory': 'memory of a device',
  'kernel-object': 'memory of a kernel object',
  'secret-memory': 'secret memory, which nobody else can read',
  unreadable: 'pages that cannot be read, damaged or in failing swap',
}

/** Names listed in one warning. */
const EXAMPLES = 3

/** Pids of the process's children. */
export function listChildren(pid: number): number[] {
  const children: number[] = []
  for (const tid of listThreads(pid)) {
    const text = readProcText(`/proc/${String(pid)}/task/${String(tid)}/children`) ?? ''
    for (const word of text.split(' ')) if (word !== '') children.push(Number(word))
  }
  return children
}

/** One line each. */
export function findWarnings({ captured, children }: Taken): string[] {
  const warnings: string[] = []
  for (const reason of new Set(captured.missing.map((range) => range.reason))) {
    warnings.push(
      missingWarning(
        reason,
        captured.missing.filter((range) => range.reason === reason),
      ),
    )
  }
  if (children.length > 0) {
    warnings.push(
      `children are not dumped: ${String(children.length)} (pid ${children.slice(0, EXAMPLES).join(', ')}${children.length > EXAMPLES ? ', ...' : ''})`,
    )
  }
  if (captured.notice !== '') warnings.push(captured.notice)
  if (captured.fullBecause !== '') warnings.push(`dumped in full: ${captured.fullBecause}`)
  if (captured.cleanNotInParent > 0) {
    warnings.push(
      `pages that were not written since the parent and that it lacks are stored: ${String(captured.cleanNotInParent)}`,
    )
  }
  const unreadable = countUnreadable(captured.scanReports)
  if (unreadable > 0) {
    warnings.push(`pages that look swapped out and cannot be read are left out: ${String(unreadable)}`)
  }
  return warnings
}

function missingWarning(reason: MissingReason, ranges: readonly MissingRange[]): string {
  const pages = ranges.reduce((sum, range) => sum + range.pages, 0)
  const names = [...new Set(ranges.map((range) => range.path || 'unnamed'))]
  const shown = names.slice(0, EXAMPLES).join(', ') + (names.length > EXAMPLES ? ', ...' : '')
  return `not stored: ${REASONS[reason]}, ${String(ranges.length)} mapping(s), ${String((pages * pageSize()) / 1024)} KiB (${shown})`
}
