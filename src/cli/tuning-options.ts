/** The options that say how the work is cut up: the same for every command that takes a process's memory. */
import type { DumpOptions } from '../index.js'
import { parseBytes, parseSeconds, parseWhole } from './units.js'

const MAX_WORKERS = 256
const MAX_SHARD_PAGES = 2 ** 31

const text = { type: 'string', requiresArg: true } as const

/** These options as yargs takes them. */
export const TUNING_OPTIONS = {
  workers: { ...text, describe: 'worker threads (default: the cores available)' },
  'shard-pages': { ...text, describe: 'populated pages that a worker scans at a time' },
  'buffer-size': { ...text, describe: 'bytes that a worker copies or writes at a time (default: 1M)' },
  'max-memory': {
    ...text,
    describe: 'staging memory at most, e.g. 512M (default: 1G, less where memory is short)',
  },
  'max-frozen': { ...text, describe: 'seconds that the process may stand still (default: 5)' },
} as const

/** These options as yargs hands them over: texts, parsed here so that errors name the option. */
export interface TuningArguments {
  readonly workers: string | undefined
  readonly shardPages: string | undefined
  readonly bufferSize: string | undefined
  readonly maxMemory: string | undefined
  readonly maxFrozen: string | undefined
}

/** These options as the library takes them. Throws `BAD_OPTION`. */
export function tuningOptions(
  args: TuningArguments,
): Pick<DumpOptions, 'workers' | 'shardPages' | 'bufferSize' | 'maxMemory' | 'maxFrozenMs'> {
  const { workers, shardPages, bufferSize, maxMemory, maxFrozen } = args
  return {
    ...(workers === undefined ? {} : { workers: parseWhole('workers', workers, 1, MAX_WORKERS) }),
    ...(shardPages === undefined
      ? {}
      : { shardPages: parseWhole('shard-pages', shardPages, 1, MAX_SHARD_PAGES) }),
    ...(bufferSize === undefined ? {} : { bufferSize: parseBytes('buffer-size', bufferSize) }),
    ...(maxMemory === undefined ? {} : { maxMemory: parseBytes('max-memory', maxMemory) }),
    ...(maxFrozen === undefined ? {} : { maxFrozenMs: parseSeconds('max-frozen', maxFrozen) }),
  }
}
