/** `npm run bench:programs`: see programs.ts. */
import yargs from 'yargs'
import { hideBin } from 'yargs/helpers'
import { measurePrograms } from './programs.js'

// An exit that is an event: what was started is ended.
process.once('SIGINT', () => process.exit(130))
process.once('SIGTERM', () => process.exit(143))

const options = await yargs(hideBin(process.argv))
  .options({
    runs: { type: 'number', default: 5, describe: 'dumps of each kind' },
    mib: { type: 'number', default: 256, describe: 'data in each program' },
    only: { type: 'string', default: '', describe: 'programs whose name has this in it' },
    folder: { type: 'string', default: '/dev/shm', describe: 'where images go' },
  })
  .strict()
  .parseAsync()
const { failed } = await measurePrograms(options)
if (Object.keys(failed).length > 0) process.exitCode = 1
