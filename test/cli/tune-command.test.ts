import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals'
import { listFact, numberFact, objectsFact, parseFacts } from '../support/facts.js'
import { expectError } from '../support/refusals.js'
import { runTool, startTool, withTempDir } from '../support/tool.js'
import { expectUnharmed } from '../support/unharmed.js'
import { startVictim, type Victim } from '../support/victim.js'

const ANNOUNCED =
  /^tidemark: warning: process (\d+) will be frozen (\d+) times?, each time for at most ([^;]+);.*$/m

let victim: Victim
beforeAll(async () => {
  victim = await startVictim('plain', ['--vmas', '20', '--pages-per-vma', '256'])
})
afterAll(async () => {
  await victim.stop()
})

function tuneWords(...words: readonly string[]): readonly string[] {
  return ['tune', '-t', String(victim.pid), '--rounds', '1', ...words]
}

/** The words after `recommended: ` in the output of a tuning. */
function recommended(stdout: string): readonly string[] {
  const line = /^recommended: tidemark (.*)$/m.exec(stdout)?.[1]
  if (line === undefined) throw new Error(`nothing is recommended in ${stdout}`)
  return line.split(' ')
}

describe('tidemark tune', () => {
  it('says first what the process is in for, then prints a table, a chart and a command', async () => {
    const run = await runTool(tuneWords('--workers', '2', '--max-frozen', '4'))
    expect(run.status).toBe(0)
    const [, pid, times, longest] = ANNOUNCED.exec(run.stderr) ?? []
    expect([pid, longest]).toEqual([String(victim.pid), '4.00 s'])
    const lines = run.stdout.trimEnd().split('\n')
    expect(lines[1]).toMatch(new RegExp(`^frozen ${String(times)} times, .* in all, .* at most`))
    // A command is not cut in two.
    expect(lines.filter((line) => line.length > 80 && !line.startsWith('recommended: '))).toEqual([])
    for (const label of ['2 workers, 1M', '--workers 1', '--shard-pages 8192', '--buffer-size 64K']) {
      // Once in the table, once in the chart.
      expect([label, lines.filter((line) => line.startsWith(label)).length]).toEqual([label, 2])
    }
    expect(run.stdout).not.toContain('durable')
    await expectUnharmed(victim)
  })

  it('recommends a command line that works', async () => {
    await withTempDir(async (directory) => {
      const run = await runTool(
        tuneWords('-D', directory, '--workers', '1', '--max-memory', '4M', '--buffer-size', '12K'),
      )
      expect(run.status).toBe(0)
      expect(run.stdout).toMatch(/^ +scan +capture +write +durable +frozen$/m)
      const words = recommended(run.stdout)
      expect(words).toEqual(expect.arrayContaining(['-D', directory, '--max-memory', '--buffer-size', '12K']))
      const dumped = await runTool([...words, '--no-sync', '--json'])
      expect([dumped.status, dumped.stderr.replace(/^tidemark: warning: .*\n/gm, '')]).toEqual([0, ''])
      expect(parseFacts(dumped.stdout).streamedBytes).toBe(0)
    })
  })

  it('prints all figures with --json', async () => {
    await withTempDir(async (directory) => {
      const images = join(directory, 'images')
      const run = await runTool(tuneWords('-D', images, '--json', '--workers', '1', '--shard-pages', '1000'))
      expect(run).toMatchObject({ status: 0, stdout: expect.stringMatching(/^[^\n]+\n$/) })
      expect(run.stderr).toMatch(ANNOUNCED)
      const result = parseFacts(run.stdout)
      expect([result.pid, result.imagesDir, result.rounds]).toEqual([victim.pid, images, 1])
      const trials = objectsFact(result, 'trials')
      expect(result.freezes).toBe(1 + trials.length)
      for (const trial of trials) {
        const [sample] = objectsFact(trial, 'samples')
        expect(trial.median).toEqual(sample)
        expect(numberFact(sample ?? {}, 'pages')).toBeGreaterThan(20 * 256)
      }
      expect(listFact(result, 'warnings').every((warning) => run.stderr.includes(String(warning)))).toBe(true)
      expect(readdirSync(directory)).toEqual([])
    })
  })

  it.each([
    ['rounds', '0'],
    ['rounds', 'x'],
    ['workers', '0'],
    ['buffer-size', '5000'],
    ['max-frozen', '0'],
    ['timeout', 'x'],
  ])('refuses --%s %s, and does nothing', async (option, value) => {
    const run = await runTool(['tune', '-t', String(victim.pid), `--${option}=${value}`])
    expect(expectError(run, 'BAD_OPTION')).toContain(option)
  })

  it('refuses a process that is not there, and announces nothing', async () => {
    expectError(await runTool(['tune', '-t', '4194304']), 'NO_SUCH_PROCESS')
  })

  it.each([
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ] as const)('ends at %s, with the process unharmed and nothing left', async (signal, status) => {
    await withTempDir(async (directory) => {
      const run = startTool(['tune', '-t', String(victim.pid), '-D', join(directory, 'images')])
      await run.output(ANNOUNCED)
      run.kill(signal)
      const ended = await run.finished
      expect(ended.status).toBe(status)
      expect(ended.stderr.replace(ANNOUNCED, '')).toMatch(/^\n?tidemark: INTERRUPTED: [^\n]+\n$/)
      expect(ended.stdout).toBe('')
      expect(readdirSync(directory)).toEqual([])
      await expectUnharmed(victim)
    })
  })
})
