/** What the checkout holds: its top level, its file names, and a README that agrees with the code. */

import { spawnSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from '@jest/globals'
import { EXIT_STATUS } from '../../src/errors.js'

const ROOT = fileURLToPath(new URL('../../../', import.meta.url))

const TOP_LEVEL = [
  'CHANGELOG.md',
  'LICENSE',
  'README.md',
  'bench',
  'docs',
  'package-lock.json',
  'package.json',
  'proto',
  'src',
  'test',
  'tsconfig.json',
  'workers',
]

/** Made by npm and the compiler, not part of the project. */
const GENERATED = ['node_modules', 'dist']

/** Names that say nothing of what is inside. */
const EMPTY_NAME = /^(utils?|helpers?|common|types?)(\.|$)/

/** A path into one person's or one machine's directories, at the start of a word. */
const MACHINE_PATH = /(?:^|[\s"'`(=:,[]|file:\/\/)\/(?:home|root|work|Users)\/[\w.-]+/m

/** The project's files, relative to its top: the tracked ones, or, in an unpacked archive, all but the generated. */
function projectFiles(): readonly string[] {
  const git = spawnSync('git', ['-c', 'safe.directory=*', 'ls-files', '-z'], { cwd: ROOT, encoding: 'utf8' })
  if (!existsSync(`${ROOT}.git`) || git.status !== 0) return filesBelow('')
  return git.stdout.split('\0').filter((path) => path !== '' && existsSync(ROOT + path))
}

/** Every file below `folder`, which is empty or ends in a slash. Does not look into what is generated. */
function filesBelow(folder: string): readonly string[] {
  return readdirSync(ROOT + folder, { withFileTypes: true }).flatMap((entry) => {
    if (!entry.isDirectory()) return [folder + entry.name]
    return folder === '' && GENERATED.includes(entry.name) ? [] : filesBelow(`${folder}${entry.name}/`)
  })
}

describe('the layout of the project', () => {
  const files = projectFiles()

  test('the top level holds only what has a place there', () => {
    const names = new Set(files.map((path) => path.replace(/\/.*/, '')))
    expect([...names].filter((name) => !name.startsWith('.') && !TOP_LEVEL.includes(name))).toEqual([])
  })

  test('no file and no folder has a name that says nothing', () => {
    expect(files.filter((path) => path.split('/').some((name) => EMPTY_NAME.test(name)))).toEqual([])
  })

  test('no file names a directory of the machine it was written on', () => {
    expect(files.filter((path) => MACHINE_PATH.test(readFileSync(ROOT + path, 'latin1')))).toEqual([])
  })

  test('the lock file names no registry', () => {
    expect(readFileSync(`${ROOT}package-lock.json`, 'utf8')).not.toContain('"resolved"')
  })
})

describe('the table of error codes in the README', () => {
  test('it has one row for every code, with its exit status, and no other', () => {
    const readme = readFileSync(`${ROOT}README.md`, 'utf8')
    const rows = [...readme.matchAll(/^\|\s*`([A-Z][A-Z0-9_]*)`\s*\|\s*(\d+)\s*\|/gm)]
    const documented = rows.map(([, code, status]) => `${code ?? ''} ${status ?? ''}`)
    const thrown = Object.entries(EXIT_STATUS).map(([code, status]) => `${code} ${status}`)
    expect(documented.sort()).toEqual(thrown.sort())
  })
})
