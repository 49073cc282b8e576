/**
 * What became slower between two results of the benchmark.
 *
 *   npm run bench:compare -- A.json B.json                       B against A
 *   npm run bench:compare -- A.json B.json --fail-above 1.25     exit status 1 where something clearly did
 */
import yargs from 'yargs'
import { hideBin } from 'yargs/helpers'
import { compareResults, worstRatio, type Change } from './comparison.js'
import { readMeasured } from './results.js'
import { formatMedian, formatRange, formatTable } from './table.js'

const DEFAULT_FIGURES = 'frozen,wall,start-up,stopped,peak,frozen: *,wall: *'

function changesTable(changes: readonly Change[]): string {
  const head = [
    'ratio',
    'shape',
    'to',
    'candidate',
    'figure',
    'before',
    'min-max',
    'after',
    'min-max',
    'ranges',
  ]
  return formatTable(
    head,
    changes.map((change) => [
      change.ratio.toFixed(2),
      change.shape,
      change.target,
      change.candidate,
      change.figure,
      formatMedian(change.before),
      formatRange(change.before),
      formatMedian(change.after),
      formatRange(change.after),
      change.mayBeChance ? 'may be chance' : 'apart',
    ]),
  )
}

function printChanges(title: string, changes: readonly Change[]): void {
  if (changes.length === 0) console.log(`\n${title}: nothing`)
  else console.log(`\n${title}:\n${changesTable(changes)}`)
}

async function compareFiles(): Promise<void> {
  const { _: files, ...options } = await yargs(hideBin(process.argv))
    .usage('npm run bench:compare -- BEFORE.json AFTER.json')
    .demandCommand(2, 2)
    .options({
      threshold: { type: 'number', default: 1.1, describe: 'ratio from which a change is shown' },
      figures: {
        type: 'string',
        default: DEFAULT_FIGURES,
        describe: 'which; a * at the end stands for anything',
      },
      'least-ms': { type: 'number', default: 1, describe: 'changes below this are not shown' },
      'fail-above': { type: 'number', describe: 'exit status 1 where a ratio is above this, ranges apart' },
    })
    .strict()
    .parseAsync()
  const [before = '', after = ''] = files.map(String)
  const comparison = compareResults(readMeasured(before), readMeasured(after), {
    threshold: options.threshold,
    figures: options.figures.split(','),
    leastMs: options['least-ms'],
  })
  printChanges(`slower in ${after} than in ${before}`, comparison.slower)
  printChanges('faster', comparison.faster)
  console.log(`\n${comparison.same} figures changed less than ${options.threshold} times`)
  for (const name of comparison.onlyBefore) console.log(`only in ${before}: ${name}`)
  for (const name of comparison.onlyAfter) console.log(`only in ${after}: ${name}`)
  const limit = options['fail-above']
  if (limit !== undefined && worstRatio(comparison) > limit) process.exitCode = 1
}

await compareFiles()
