/** The options of the benchmark of whole dumps. */
import { tmpdir } from 'node:os'
import yargs from 'yargs'
import { CAPTURES } from '../src/engine/options.js'
import type { Capture } from './candidates.js'

/** What to measure, and where the results go. */
export interface SuiteOptions {
  readonly runs: number
  /** Parts of names of shapes, or of trackers; none for all. */
  readonly only: readonly string[]
  /** Other tools: `criu=PATH`, `gcore`. */
  readonly against: readonly string[]
  readonly tmpfs: string
  readonly disk: string
  readonly all: boolean
  readonly aims: boolean
  readonly increments: boolean
  /** The process whose increments are measured. */
  readonly shape: string
  readonly captures: readonly Capture[]
  /** Numbers of workers beside the default one. */
  readonly workers: readonly number[]
  readonly list: boolean
  readonly json: string | undefined
  readonly html: string | undefined
}

/** The options in `args`. Ends the process with a message where they are wrong. */
export async function parseSuiteOptions(args: readonly string[]): Promise<SuiteOptions> {
  const options = await yargs([...args])
    .scriptName('npm run bench --')
    .options({
      runs: { type: 'number', default: 5, describe: 'undisturbed runs of each candidate' },
      only: {
        type: 'string',
        default: '',
        describe: 'shapes (or trackers) whose name has one of these in it, e.g. 1g,thp',
      },
      against: { type: 'string', array: true, default: [], describe: 'criu=PATH, gcore: measured beside it' },
      all: {
        type: 'boolean',
        default: false,
        describe: 'every shape on disk too, 1 to N workers, and increments',
      },
      aims: {
        type: 'boolean',
        default: false,
        describe: 'only what the aims are about, and how far it is from them',
      },
      increments: {
        type: 'boolean',
        default: false,
        describe: 'increments instead, by tracker and what changed',
      },
      shape: { type: 'string', default: '1g-100', describe: 'the shape whose increments are measured' },
      capture: {
        array: true,
        choices: CAPTURES,
        default: ['copy', 'fork'] as const,
        describe: 'how pages are taken',
      },
      workers: { type: 'string', default: '', describe: 'numbers of workers to measure too, e.g. 1,2,4' },
      list: {
        type: 'boolean',
        default: false,
        describe: 'tell what would be measured, and how long it takes',
      },
      tmpfs: { type: 'string', default: '/dev/shm', describe: 'a directory in memory' },
      disk: { type: 'string', default: tmpdir(), describe: 'a directory on a disk' },
      json: { type: 'string', describe: 'write all figures to this file' },
      html: { type: 'string', describe: 'write a page with charts to this file' },
    })
    .strict()
    .parseAsync()
  return {
    ...options,
    only: words(options.only),
    captures: options.capture,
    workers: words(options.workers).map(Number),
    json: options.json,
    html: options.html,
  }
}

/** Whether `name` is asked for by `only`. */
export function isSelected(name: string, only: readonly string[]): boolean {
  return only.length === 0 || only.some((part) => name.includes(part))
}

function words(text: string): string[] {
  return text.split(',').filter((word) => word !== '')
}
