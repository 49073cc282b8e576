/** `tidemark check`: what this kernel and our rights allow. */
import { checkSystem } from '../index.js'
import { print, printJson } from './output.js'

/** Runs the command; false where dumps are impossible. */
export function runCheck(args: { readonly json: boolean }): boolean {
  const rows = checkSystem()
  if (args.json) {
    printJson(rows)
  } else {
    const width = Math.max(...rows.map((row) => row.feature.length))
    for (const { feature, verdict, detail, remedy } of rows) {
      print(`${feature.padEnd(width)}  ${verdict.padEnd(7)}  ${detail}${remedy === '' ? '' : `: ${remedy}`}`)
    }
  }
  return rows.every((row) => row.verdict !== 'missing')
}
