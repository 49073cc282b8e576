/** `tidemark explain`: the seven facts of one page. */
import { explainProcessPage, explainSnapshotPage, TidemarkError, type PageExplanation } from '../index.js'
import { print, printJson } from './output.js'
import { MAX_PID, parseAddress, parseWhole } from './units.js'

/** The command's options. */
export interface ExplainArguments {
  readonly tree: string | undefined
  readonly dir: string | undefined
  readonly vaddr: string
  readonly json: boolean
}

/** Runs the command. Throws TidemarkError. */
export function runExplain(args: ExplainArguments): void {
  const vaddr = parseAddress('vaddr', args.vaddr)
  const page = explain(args, vaddr)
  if (args.json) printJson(page)
  else print(formatExplanation(page))
}

function explain({ tree, dir }: ExplainArguments, vaddr: number): PageExplanation {
  if (tree !== undefined && dir === undefined)
    return explainProcessPage(parseWhole('tree', tree, 1, MAX_PID), vaddr)
  if (dir !== undefined && tree === undefined) return explainSnapshotPage(dir, vaddr)
  throw new TidemarkError('BAD_OPTION', 'give either a process (-t PID) or an images directory', {
    option: 'tree',
  })
}

function formatExplanation(page: PageExplanation): string {
  const { shard, bits, run, entry } = page
  const none = '-'
  const lines = [
    `page      ${page.vaddr}`,
    `1 VMA     ${page.vma ?? 'none: the address is not mapped'}${page.fate === undefined ? '' : `; ${page.fate}`}`,
    `2 shard   ${shard === undefined ? none : `${String(shard.index + 1)} of ${String(shard.count)}`}`,
    `3 bits    ${bits === undefined ? '' : `${bitNames(bits)}; `}${page.stored ? 'to be stored' : 'not stored'}`,
    `4 run     ${run === undefined ? none : `number ${String(run.index)}, ${String(run.pages)} pages from ${run.start}`}`,
    `5 offset  ${page.pagesOffset === undefined ? none : `${String(page.pagesOffset)} bytes into the pages file`}`,
    `6 bytes   ${page.bytes === undefined ? none : `${page.bytes} ...`}`,
    `7 entry   ${entry === undefined ? none : `vaddr ${entry.vaddr}, nr_pages ${String(entry.pages)}, ${entry.where}`}`,
  ]
  return lines.join('\n')
}

function bitNames(bits: NonNullable<PageExplanation['bits']>): string {
  const names = Object.entries(bits).filter(([, set]) => set === true)
  return names.length === 0 ? 'absent' : names.map(([name]) => name).join(', ')
}
