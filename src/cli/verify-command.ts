/** `tidemark verify`: whether images are sound, and whether they are what a process holds. */
import { EXIT_STATUS, verify, type Comparison, type VerifiedLink, type Verification } from '../index.js'
import { print, printJson, tell } from './output.js'
import { abortOnSignals } from './signals.js'
import { tuningOptions, type TuningArguments } from './tuning-options.js'
import { formatMicros, MAX_PID, parseWhole, plural } from './units.js'

/** The command's options as yargs hands them over. */
export interface VerifyArguments extends TuningArguments {
  readonly dir: string
  readonly tree: string | undefined
  readonly json: boolean
}

/** Runs the command; the exit status. Throws TidemarkError. */
export async function runVerify(args: VerifyArguments): Promise<number> {
  const { tree } = args
  const controller = new AbortController()
  abortOnSignals(controller)
  const result = await verify(
    args.dir,
    tree === undefined
      ? undefined
      : {
          pid: parseWhole('tree', tree, 1, MAX_PID),
          signal: controller.signal,
          ...tuningOptions(args),
        },
  )
  if (args.json) printJson(result)
  else print(formatVerification(result).join('\n'))
  return statusOf(result)
}

/** Tells what is wrong as one line with a code; the exit status for it. */
function statusOf({ imagesDir, problems, comparison }: Verification): number {
  if (problems.length > 0) {
    tell(`tidemark: BAD_IMAGE: ${imagesDir}: ${plural(problems.length, 'problem')}`)
    return EXIT_STATUS.BAD_IMAGE
  }
  if (comparison === undefined || comparison.different + comparison.notHeld === 0) return 0
  tell(`tidemark: DIFFERENT: ${imagesDir} is not what process ${String(comparison.pid)} holds now`)
  return EXIT_STATUS.DIFFERENT
}

function formatVerification({ links, pages, problems, comparison }: Verification): string[] {
  return [
    ...links.map(formatLink),
    ...problems.map((problem) => `problem: ${problem}`),
    problems.length === 0 ? `sound: ${plural(links.length, 'link')}, ${plural(pages, 'page')}` : 'damaged',
    ...(comparison === undefined ? [] : formatComparison(comparison)),
  ]
}

function formatLink({ folder, kind, pagesStored, pagesInParent }: VerifiedLink): string {
  return `${folder}: ${kind}, stored ${plural(pagesStored, 'page')}, holes ${String(pagesInParent)}`
}

function formatComparison(comparison: Comparison): string[] {
  const { pid, pages, same, different, firstDifferent, notHeld, frozenUs } = comparison
  return [
    `process ${String(pid)}: ${plural(pages, 'page')}, same ${String(same)}, different ${String(different)}, ` +
      `in the images only ${String(notHeld)}; frozen ${formatMicros(frozenUs)}`,
    ...(different === 0 ? [] : [`first different: ${firstDifferent.join(', ')}`]),
  ]
}
