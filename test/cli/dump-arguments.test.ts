import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals'
import { parseFacts } from '../support/facts.js'
import { expectError, expectJsonError } from '../support/refusals.js'
import { runTool, withTempDir } from '../support/tool.js'
import { expectUnharmed } from '../support/unharmed.js'
import { startVictim, type Victim } from '../support/victim.js'

const AT_ONCE = 4

let victim: Victim
beforeAll(async () => {
  victim = await startVictim('plain')
})
afterAll(async () => {
  await victim.stop()
})

/** Runs `use` for each of `inputs`, a few at a time: most of a run is the start of Node. */
async function forEach<Input>(inputs: readonly Input[], use: (input: Input) => Promise<void>): Promise<void> {
  for (let index = 0; index < inputs.length; index += AT_ONCE) {
    await Promise.all(inputs.slice(index, index + AT_ONCE).map(use))
  }
}

describe('a bad value of', () => {
  it.each([
    ['tree', ['0', '-1', '1.5', 'x', '1e3', '0x10', ' ', '99999999999999999999', '4194305']],
    ['workers', ['0', '-1', '1.5', 'many', '', '257', '1e309']],
    ['shard-pages', ['0', '-32', 'x', '9007199254740993']],
    ['buffer-size', ['0', '-4096', 'x', '', '4095', '5000', '1.5', '64.5M', '128M', '8191T']],
    ['max-memory', ['-1', 'x', '1X', '1.5.5G', 'G', '99999999T']],
    ['max-frozen', ['0', '-5', 'x', '1e9', '86401', 'Infinity', 'NaN']],
    ['timeout', ['0', '-5', 'x', '86401']],
  ])('--%s is named in one line, and nothing is done', async (option, values) => {
    await withTempDir(async (directory) => {
      await forEach(values, async (value) => {
        const images = join(directory, `images-${String(values.indexOf(value))}`)
        const words = option === 'tree' ? [] : ['-t', String(victim.pid)]
        const run = await runTool(['dump', ...words, `--${option}=${value}`, '-D', images])
        expect([value, expectError(run, 'BAD_OPTION')]).toEqual([value, expect.stringContaining(option)])
      })
      expect(readdirSync(directory)).toEqual([])
      await expectUnharmed(victim)
    })
  })
})

describe('a command line that asks for JSON', () => {
  it.each([
    [['--json'], true],
    [['--json=true'], true],
    [['--json=false'], false],
    [['--json', '--no-json'], false],
    [['--no-json', '--json'], true],
  ])('gets its error so, and no other: %j', async (words, isJson) => {
    const run = await runTool(['dump', '-t', '0', '-D', '/nonexistent', ...words])
    if (isJson) expectJsonError(run, 'BAD_OPTION')
    else expectError(run, 'BAD_OPTION')
  })
})

describe('a command line that makes no sense is refused', () => {
  it.each([
    [
      'an unknown option',
      (pid: string, images: string) => ['dump', '-t', pid, '-D', images, '--no-such-thing'],
    ],
    ['an unknown command', (pid: string) => ['dumpp', '-t', pid]],
    ['no command', () => []],
    ['no process', (_: string, images: string) => ['dump', '-D', images]],
    ['no images directory', (pid: string) => ['dump', '-t', pid]],
    ['an empty name of the images directory', (pid: string) => ['dump', '-t', pid, '-D', '']],
    [
      'an option without its value',
      (pid: string, images: string) => ['dump', '-D', images, '-t', pid, '--workers'],
    ],
    ['a word too many', (pid: string, images: string) => ['dump', '-t', pid, '-D', images, 'more']],
    [
      'both --leave-stopped and --leave-running',
      (pid: string, images: string) => ['dump', '-t', pid, '-D', images, '-s', '-R'],
    ],
    [
      'a log file in a directory that is not there',
      (pid: string, images: string) => ['dump', '-t', pid, '-D', images, '-o', `${images}/none/log`],
    ],
    ['an address that is none', (pid: string) => ['explain', '-t', pid, '--vaddr', 'here']],
    [
      'an address of more than 64 bits',
      (pid: string) => ['explain', '-t', pid, '--vaddr', '10000000000000000'],
    ],
    ['neither process nor directory to explain', () => ['explain', '--vaddr', '0']],
    [
      'both process and directory to explain',
      (pid: string, images: string) => ['explain', '-t', pid, images, '--vaddr', '0'],
    ],
    ['no directory to show', () => ['show']],
  ])('with %s', async (_, words) => {
    await withTempDir(async (directory) => {
      const line = words(String(victim.pid), join(directory, 'images'))
      const [text, json] = await Promise.all([runTool(line), runTool([...line, '--json'])])
      // Whoever forgets the value of the last option gives it the next word.
      if (line.at(-1) !== '--workers') expectJsonError(json, 'BAD_OPTION')
      expectError(text, 'BAD_OPTION')
      expect(readdirSync(directory)).toEqual([])
      await expectUnharmed(victim)
    })
  })

  it('and the log file of an earlier run is left as it is', async () => {
    await withTempDir(async (directory) => {
      const log = join(directory, 'log')
      writeFileSync(log, 'precious')
      const words = ['dump', '-t', String(victim.pid), '-D', join(directory, 'images'), '-o', log]
      expectError(await runTool([...words, '--workers', '0']), 'BAD_OPTION')
      expect(readFileSync(log, 'utf8')).toBe('precious')
    })
  })
})

describe('the command', () => {
  it('tells its version and explains itself, with status 0', async () => {
    const version = parseFacts(
      readFileSync(new URL('../../../package.json', import.meta.url), 'utf8'),
    ).version
    expect(await runTool(['--version'])).toMatchObject({
      status: 0,
      stdout: `${String(version)}\n`,
      stderr: '',
    })
    const help = await runTool(['dump', '--help'])
    expect(help).toMatchObject({ status: 0, stderr: '' })
    for (const option of [
      '--tree',
      '--images-dir',
      '--leave-stopped',
      '--workers',
      '--max-memory',
      '--json',
    ]) {
      expect(help.stdout).toContain(option)
    }
  })

  it('takes a relative images directory as of the current one', async () => {
    await withTempDir(async (directory) => {
      mkdirSync(join(directory, 'here'))
      const words = ['dump', '--no-sync', '--quiet', '-t', String(victim.pid), '-D', 'a/b']
      expect(await runTool(words, { cwd: join(directory, 'here') })).toMatchObject({ status: 0, stderr: '' })
      expect(readdirSync(join(directory, 'here/a/b'))).toContain('tidemark.json')
    })
  })
})
