#!/usr/bin/env node
/** The command line: yargs in, text or JSON out. */
import yargs from 'yargs'
import { hideBin } from 'yargs/helpers'
import { codeOf, dump, EXIT_STATUS, preDump, TidemarkError, VERSION } from '../index.js'
import { runCheck } from './check-command.js'
import { runDump } from './dump-command.js'
import { runExplain } from './explain-command.js'
import { reportError, wantsJson } from './output.js'
import { runTune } from './tune-command.js'
import { TUNING_OPTIONS } from './tuning-options.js'
import { runUntrack } from './untrack-command.js'
import { runVerify } from './verify-command.js'
import { runShow } from './show-command.js'

const text = { type: 'string', requiresArg: true } as const
const flag = { type: 'boolean', default: false } as const
const json = { ...flag, describe: 'print one machine-readable result on stdout' } as const
const tree = { ...text, alias: 't', describe: 'pid of the process' } as const

const dumpOptions = {
  tree: { ...tree, demandOption: true },
  'images-dir': {
    ...text,
    alias: 'D',
    demandOption: true,
    describe: 'directory for the images; made if it is not there',
  },
  'leave-running': { ...flag, alias: 'R', describe: 'let the process run on afterwards (the default)' },
  'leave-stopped': { ...flag, alias: 's', describe: 'leave the process stopped (SIGSTOP) afterwards' },
  ...TUNING_OPTIONS,
  timeout: { ...text, describe: 'seconds in which the process must come to a stand (default: 10)' },
  'require-complete': { ...flag, describe: 'fail where some memory cannot be stored' },
  sync: { type: 'boolean', default: true, describe: 'have the images on the disk before exiting' },
  json,
  quiet: { ...flag, describe: 'print nothing but errors' },
  verbose: { type: 'count', alias: 'v', describe: 'tell what each worker did' },
  'log-file': { ...text, alias: 'o', describe: 'write what -v tells to this file' },
  'prev-images-dir': {
    ...text,
    describe: 'parent images, relative to --images-dir: only what changed since is stored',
  },
  'track-mem': { ...flag, describe: 'track changes from now on, so that this can be a parent' },
  tracker: { ...text, default: 'auto', describe: 'auto, soft-dirty, uffd-wp or content' },
  'on-broken-chain': {
    ...text,
    default: 'full',
    describe: 'full or fail, where the parent cannot be built on',
  },
  'trust-parent': { ...flag, describe: 'take images by criu as a parent without proof' },
} as const

/** Not for a pre-dump, which copies from the running process. */
const capture = {
  ...text,
  default: 'auto',
  describe: 'fork (read a fork of the process while it runs on), copy (while it stands), or auto',
} as const

const argv = hideBin(process.argv)

const parser = yargs(argv)
  .scriptName('tidemark')
  .version(VERSION)
  .usage('$0 COMMAND: memory snapshots of live processes, in CRIU image format')
  .parserConfiguration({
    'duplicate-arguments-array': false,
    'parse-numbers': false,
    'parse-positional-numbers': false,
  })
  .command(
    'dump',
    'write the memory of a running process as CRIU images',
    (command) => command.options({ ...dumpOptions, capture }),
    (args) => runDump(args, dump),
  )
  .command(
    'pre-dump',
    'take a first snapshot of a process that hardly stands: a parent for later dumps',
    (command) => command.options(dumpOptions),
    (args) => runDump({ ...args, capture: undefined }, preDump),
  )
  .command(
    'show <dir>',
    'print what a snapshot holds',
    (command) =>
      command
        .positional('dir', { type: 'string', demandOption: true, describe: 'images directory' })
        .options({ pagemap: { ...flag, describe: 'print the pagemap too' }, json }),
    (args) => {
      runShow(args)
    },
  )
  .command(
    'explain [dir]',
    'print what a dump does with one page: its VMA, shard, bits, run, offset, bytes and entry',
    (command) =>
      command
        .positional('dir', { type: 'string', describe: 'images directory, instead of -t' })
        .options({ tree, vaddr: { ...text, demandOption: true, describe: 'address in hex' }, json }),
    (args) => {
      runExplain(args)
    },
  )
  .command(
    'verify <dir>',
    'check a chain of images, and with -t compare it with a process',
    (command) =>
      command
        .positional('dir', { type: 'string', demandOption: true, describe: 'images directory' })
        .options({
          tree: { ...tree, describe: 'pid of a process to compare with; it stands meanwhile' },
          ...TUNING_OPTIONS,
          json,
        }),
    async (args) => {
      process.exitCode = await runVerify(args)
    },
  )
  .command(
    'tune',
    'try settings of a dump on a process and tell which are best; it is frozen several times',
    (command) =>
      command.options({
        tree: { ...tree, demandOption: true },
        'images-dir': { ...text, alias: 'D', describe: 'write there too; what is written is removed again' },
        ...TUNING_OPTIONS,
        rounds: { ...text, describe: 'times that each setting is tried (default: 3)' },
        timeout: dumpOptions.timeout,
        json,
      }),
    (args) => runTune(args),
  )
  .command(
    'untrack',
    'take tracking off a process: its next dump is full',
    (command) => command.options({ tree: { ...tree, demandOption: true }, json }),
    (args) => runUntrack(args),
  )
  .command(
    'check',
    'tell what this kernel and your rights allow',
    (command) => command.options({ json }),
    (args) => {
      if (!runCheck(args)) process.exitCode = EXIT_STATUS.UNSUPPORTED_PLATFORM
    },
  )
  .demandCommand(1, 'no command given')
  .strict()
  .exitProcess(false)
  .fail((message, error: Error | undefined) => {
    // yargs calls this for its own findings with a message or a YError, for what a command threw with that error.
    const thrown: Error | undefined = error
    if (thrown !== undefined && thrown.name !== 'YError') throw thrown
    const finding = (thrown?.message ?? message).replaceAll('\n', ' ')
    throw new TidemarkError('BAD_OPTION', `${finding}; see tidemark --help`)
  })

// The reader of our output may leave early; that is its right. What was dumped is dumped either way.
process.stdout.on('error', (error: Error) => {
  if (codeOf(error) === 'EPIPE') return
  process.exitCode = reportError(
    new TidemarkError('WRITE_FAILED', `the result cannot be printed: ${error.message}`),
    false,
  )
})

// Nobody reads our messages any more; the exit status still tells.
process.stderr.on('error', () => undefined)

try {
  await parser.parseAsync()
} catch (error) {
  process.exitCode = reportError(error, wantsJson(argv))
}
