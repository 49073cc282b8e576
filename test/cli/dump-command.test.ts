import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from '@jest/globals'
import { isFacts, listFact, numberFact, objectsFact, parseFacts, stringFact } from '../support/facts.js'
import { hasSoftDirty, kernelAtLeast } from '../support/privileges.js'
import { expectError, expectJsonError } from '../support/refusals.js'
import { dumpResult, runDump } from '../support/snapshots.js'
import { runTool, TOOL_PATH, withTempDir } from '../support/tool.js'
import { expectUnharmed } from '../support/unharmed.js'
import { withSleeper } from '../support/shell.js'
import { withVictim } from '../support/victim.js'

/** What a terminal takes as orders: no such thing goes into a pipe. */
// eslint-disable-next-line no-control-regex -- control characters are what is looked for
const TERMINAL_CODES = /[\r\u001b\u0008]/

describe('tidemark dump', () => {
  it('prints the result and nothing else, to stdout', async () => {
    await withTempDir(async (directory) => {
      await withSleeper(async (pid) => {
        const run = await runDump(pid, join(directory, 'images'))
        expect(run).toMatchObject({ status: 0, stderr: '' })
        const lines = run.stdout.trimEnd().split('\n')
        expect(lines[0]).toContain(`process ${String(pid)} (sleep`)
        expect(lines[0]).toContain(join(directory, 'images'))
        expect(lines[1]).toMatch(/^frozen .*seize .*scan .*capture/)
        expect(lines[2]).toMatch(/^wall /)
        expect(lines[3]).toMatch(/^captured by /)
        expect(lines).toHaveLength(4)
        expect(run.stdout).not.toMatch(TERMINAL_CODES)
      })
    })
  })

  it('prints with --json one line, in which the numbers agree', async () => {
    await withTempDir(async (directory) => {
      await withSleeper(async (pid) => {
        const images = join(directory, 'images')
        const run = await runDump(pid, images, ['--json', '--workers', '2'])
        expect(run).toMatchObject({ status: 0, stderr: '', stdout: expect.stringMatching(/^[^\n]+\n$/) })
        const result = parseFacts(run.stdout)
        expect([result.pid, result.imagesDir, result.complete]).toEqual([pid, images, true])
        expect(listFact(result, 'warnings')).toEqual([])
        const stored = numberFact(result, 'pagesStored')
        expect(result.bytesStored).toBe(stored * numberFact(result, 'pageSize'))
        for (const share of ['scannedPages', 'copiedPages', 'writtenPages']) {
          const sum = objectsFact(result, 'workers').reduce(
            (pages, worker) => pages + numberFact(worker, share),
            0,
          )
          expect([share, sum]).toEqual([share, stored])
        }
        const { frozen, wall } = result
        if (!isFacts(frozen) || !isFacts(wall)) throw new Error(run.stdout)
        const steps = ['startUs', 'prepareUs', 'frozenUs', 'writeUs', 'publishUs'].map((step) =>
          numberFact(wall, step),
        )
        const sum = steps.reduce((micros, step) => micros + step, 0)
        expect(Math.abs(sum - numberFact(wall, 'totalUs'))).toBeLessThan(numberFact(wall, 'totalUs') / 10)
        const window = Object.keys(frozen).reduce((micros, step) => micros + numberFact(frozen, step), 0)
        expect(window).toBeLessThanOrEqual(numberFact(wall, 'frozenUs') + 1000)
        const marker = parseFacts(readFileSync(join(images, 'tidemark.json'), 'utf8'))
        expect(marker.snapshotId).toBe(result.snapshotId)
      })
    })
  })

  it('prints nothing with --quiet, not even warnings', async () => {
    await withTempDir(async (directory) => {
      await withVictim('hard', [], async ({ pid }) => {
        const images = join(directory, 'images')
        expect(await runDump(pid, images, ['--quiet'])).toEqual({
          status: 0,
          signal: null,
          stdout: '',
          stderr: '',
        })
        expect(existsSync(join(images, 'tidemark.json'))).toBe(true)
      })
    })
  })

  it('tells each share of the work with -v, and writes it to the log file', async () => {
    await withTempDir(async (directory) => {
      await withVictim('plain', [], async ({ pid }) => {
        const log = join(directory, 'log')
        const run = await runDump(pid, join(directory, 'images'), ['-v', '-o', log, '--workers', '3'])
        expect(run.status).toBe(0)
        const told = run.stderr.match(/^worker \d: .*$/gm)
        expect(told).toHaveLength(3)
        expect(readFileSync(log, 'utf8').match(/^worker \d: .*$/gm)).toEqual(told)

        const quiet = await runDump(pid, join(directory, 'quiet'), ['--quiet', '-o', log])
        expect(quiet).toMatchObject({ status: 0, stdout: '', stderr: '' })
        const id = parseFacts(readFileSync(join(directory, 'quiet/tidemark.json'), 'utf8')).snapshotId
        expect(readFileSync(log, 'utf8')).toContain(String(id))
        const line = expectError(
          await runDump(pid, join(directory, 'quiet'), ['-o', log]),
          'IMAGES_DIR_IN_USE',
        )
        expect(readFileSync(log, 'utf8')).toBe(`${line.replace('tidemark: ', '')}\n`)
      })
    })
  })

  it('names memory that it cannot store in warnings, and fails where all is wanted', async () => {
    await withTempDir(async (directory) => {
      await withVictim('hard', [], async (victim) => {
        const images = join(directory, 'images')
        const log = join(directory, 'log')
        const run = await runDump(victim.pid, images, ['--json', '-o', log])
        const result = parseFacts(run.stdout)
        expect(result.complete).toBe(false)
        const warnings = listFact(result, 'warnings').map(String)
        expect(run.stderr).toBe(warnings.map((warning) => `tidemark: warning: ${warning}\n`).join(''))
        for (const warning of warnings) expect(readFileSync(log, 'utf8')).toContain(`warning: ${warning}\n`)
        for (const word of ['shared anonymous', 'memfd', 'System V', 'deleted']) {
          expect(warnings.some((warning) => warning.includes(word))).toBe(true)
        }
        const marker = parseFacts(readFileSync(join(images, 'tidemark.json'), 'utf8'))
        expect([marker.complete, marker.warnings]).toEqual([false, warnings])
        const missing = objectsFact(marker, 'missing')
        expect(missing).toHaveLength(listFact(result, 'missing').length)
        // Of the 32 pages of the victim's mapping of a deleted file nine are changed, and so stored.
        const gone = missing.filter(({ reason }) => reason === 'deleted-file')
        expect(gone.map(({ pages }) => pages)).toEqual([23])
        expect(Number(gone[0]?.end) - Number(gone[0]?.start)).toBe(32 * 4096)

        const strict = join(directory, 'strict')
        expectError(await runDump(victim.pid, strict, ['--require-complete']), 'INCOMPLETE')
        expectJsonError(await runDump(victim.pid, strict, ['--require-complete', '--json']), 'INCOMPLETE')
        expect(existsSync(strict)).toBe(false)
        await expectUnharmed(victim)
      })
    })
  })

  it('dumps a complete process with --require-complete', async () => {
    await withTempDir(async (directory) => {
      await withSleeper(async (pid) => {
        const result = await dumpResult(pid, join(directory, 'images'), ['--require-complete'])
        expect(result.complete).toBe(true)
      })
    })
  })

  it('names children, which it does not dump', async () => {
    await withTempDir(async (directory) => {
      await withVictim('plain', [], async (victim) => {
        const child = String(numberFact(await victim.request('fork'), 'pid'))
        const images = join(directory, 'images')
        const run = await runDump(victim.pid, images)
        expect(run.status).toBe(0)
        expect(run.stderr).toMatch(new RegExp(`^tidemark: warning: .*children.*\\b${child}\\b`, 'm'))
        const shown = await runTool(['show', images])
        expect(shown.stdout).toMatch(new RegExp(`^warning: .*children.*\\b${child}\\b`, 'm'))
      })
    })
  })
})

describe('tidemark dump whose messages nobody reads', () => {
  it('ends with the status of its error', async () => {
    await withTempDir((directory) => {
      const words = [process.execPath, TOOL_PATH, 'dump', '-t', '0', '-D', join(directory, 'images')]
      const line = '{ "$@" >/dev/null; echo $? >"$dir/status"; } 2>&1 | :'
      spawnSync('sh', ['-c', `dir=$1; shift; ${line}`, 'sh', directory, ...words])
      expect(readFileSync(join(directory, 'status'), 'utf8')).toBe('2\n')
      return Promise.resolve()
    })
  })
})

describe('tidemark check', () => {
  it('has a row for each feature, with a remedy for each that is not there', async () => {
    const json = await runTool(['check', '--json'])
    expect([json.status, json.stderr]).toEqual([0, ''])
    const rows = objectsFact(parseFacts(`{"rows":${json.stdout}}`), 'rows')
    expect(rows.length).toBeGreaterThan(5)
    const verdictOf = (feature: string): unknown => rows.find((row) => row.feature === feature)?.verdict
    expect(verdictOf('soft-dirty')).toBe(hasSoftDirty() ? 'yes' : 'no')
    expect(verdictOf('uffd-wp')).toBe(kernelAtLeast(6, 7) ? 'yes' : 'no')
    for (const row of rows)
      expect([row.feature, row.remedy === '']).toEqual([row.feature, row.verdict === 'yes'])
    const text = await runTool(['check'])
    const lines = text.stdout.trimEnd().split('\n')
    expect(lines).toHaveLength(rows.length)
    for (const [index, row] of rows.entries()) {
      expect(lines[index]).toContain(stringFact(row, 'feature'))
      expect(lines[index]).toContain(stringFact(row, 'remedy'))
    }
  })
})
