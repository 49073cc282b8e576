/** `npm run bench:micro`: see micro.ts. */
import { runMicroBenchmarks } from './micro.js'

await runMicroBenchmarks()
