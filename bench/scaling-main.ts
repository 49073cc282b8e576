/** `npm run bench:scaling`: see scaling-runs.ts. */
import yargs from 'yargs'
import { hideBin } from 'yargs/helpers'
import { measureScaling } from './scaling-runs.js'

const options = await yargs(hideBin(process.argv))
  .options({
    runs: { type: 'number', default: 5, describe: 'runs with each number of workers' },
    gib: { type: 'number', default: 1, describe: 'size of the process' },
    folder: { type: 'string', default: '/dev/shm', describe: 'where images go' },
  })
  .strict()
  .parseAsync()
await measureScaling(options)
