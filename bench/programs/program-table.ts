/** The table of `npm run bench:programs`. */
import { figure, markdownTable } from '../markdown-table.js'
import type { ProgramFigures, ProgramResults } from './figures.js'
import type { Latencies } from './latencies.js'

const MIB = 2 ** 20
const SEEN = ['answers/s', 'p50', 'p99', 'max']

/** Prints a line for each kind of dump, then what was skipped and what failed, each with its reason. */
export function printPrograms({ figures, skipped, failed }: ProgramResults): void {
  const dump = ['program', 'capture', 'dump', 'runs', 'MiB', 'frozen', 'most', 'wall']
  const head = [...dump, ...SEEN.map((name) => `before: ${name}`), ...SEEN.map((name) => `during: ${name}`)]
  console.log('\nWhat clients see before and during a dump, milliseconds:')
  console.log(markdownTable(head, figures.map(rowOf)))
  for (const { program, capture, kind, reasons } of figures)
    for (const reason of reasons) console.log(`${program}, ${capture}, ${kind}: ${reason}`)
  for (const [program, reason] of Object.entries(skipped)) console.log(`${program}: skipped, ${reason}`)
  for (const [program, reason] of Object.entries(failed)) console.log(`${program}: FAILED, ${reason}`)
}

function rowOf(line: ProgramFigures): string[] {
  const { program, capture, otherwise, kind, tracker, runs, fullAfterAll, storedBytes } = line
  const full = fullAfterAll === 0 ? '' : `, ${String(fullAfterAll)} of them full`
  return [
    ...[program, otherwise === 0 ? capture : `${capture}, ${String(otherwise)} otherwise`],
    ...[tracker === '' ? kind : `${kind}, ${tracker}${full}`, String(runs)],
    figure(storedBytes / MIB),
    ...[line.frozenMs, line.maxFrozenMs, line.wallMs].map(figure),
    ...cellsOf(line.before),
    ...cellsOf(line.during),
  ]
}

function cellsOf({ answersPerSecond, p50Ms, p99Ms, maxMs }: Latencies): string[] {
  return [answersPerSecond, p50Ms, p99Ms, maxMs].map(figure)
}
