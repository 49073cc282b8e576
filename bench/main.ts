/**
 * The benchmarks.
 *
 *   npm run bench                                                 dumps of processes of many shapes
 *   npm run bench -- --against criu=/usr/sbin/criu gcore          CRIU and gdb's gcore beside them, in turn
 *   npm run bench -- --aims --against criu=/usr/sbin/criu         what the project aims at, and how far it is from it
 *   npm run bench -- --increments                                 increments, by tracker and by what changed
 *   npm run bench -- --json FILE --html FILE                      all figures, and a page with charts
 *   npm run bench -- --help                                       more
 *   npm run bench -- micro                                        single functions
 *
 * `npm run bench:compare -- A.json B.json` tells what became slower.
 */
import { runMicroBenchmarks } from './micro.js'
import { runSuite } from './suite.js'

/** Benchmarks by the first word of the command line. */
const COMMANDS: Readonly<Record<string, (args: readonly string[]) => Promise<unknown>>> = {
  dumps: runSuite,
  micro: runMicroBenchmarks,
}

const [first = '', ...rest] = process.argv.slice(2)
const command = COMMANDS[first]
await (command === undefined ? runSuite(process.argv.slice(2)) : command(rest))
