/** `npm run bench:twin`: see twin.ts. */
import yargs from 'yargs'
import { hideBin } from 'yargs/helpers'
import { measureTwin } from './twin.js'

const options = await yargs(hideBin(process.argv))
  .options({
    runs: { type: 'number', default: 5, describe: 'runs of each, in turn' },
    only: { type: 'string', default: '', describe: 'shapes whose name has this in it' },
    folder: { type: 'string', default: '/dev/shm', describe: 'where images go' },
  })
  .strict()
  .parseAsync()
await measureTwin(options)
