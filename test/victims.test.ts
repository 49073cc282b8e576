import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from '@jest/globals'
import { numberFact, numbersFact, stringFact } from './support/facts.js'
import { pageSize, readVmas } from './support/kernel-vmas.js'
import { expectedPages, readProcessPage } from './support/oracle.js'
import { firstPage, pagesFrom, pagesUnlike, within } from './support/pages.js'
import { isRoot, itIf, NOBODY } from './support/privileges.js'
import { isGone, isStopped, suspend, taskStates, waitUntilGone } from './support/processes.js'
import { startProgram, withTempDir } from './support/tool.js'
import { startVictim, withVictim } from './support/victim.js'

const canUnshare = isRoot && spawnSync('unshare', ['--pid', '--fork', 'true']).status === 0
const runs32Bit = await startVictim('elf32').then(
  (victim) => victim.stop().then(() => true),
  () => false,
)
const PAGE = pageSize()

describe('a victim', () => {
  it('says its facts, answers commands, and is gone after stop', async () => {
    const victim = await startVictim('plain', ['--vmas', '3', '--pages-per-vma', '5'])
    expect(numberFact(victim.facts, 'totalPages')).toBe(15)
    expect(await victim.request('ping')).toEqual({ pong: true })
    await expect(victim.request('nonsense')).rejects.toThrow('unknown command nonsense')
    await victim.stop()
    await victim.stop()
    expect(existsSync(`/proc/${victim.pid}`)).toBe(false)
    await expect(victim.request('ping')).rejects.toThrow('ended')
  })

  it('is not a child of the test', async () => {
    await withVictim('plain', [], (victim) => {
      const status = readFileSync(`/proc/${victim.pid}/status`, 'latin1')
      expect(status).not.toMatch(new RegExp(`^PPid:\\s+${process.pid}$`, 'm'))
      return Promise.resolve()
    })
  })

  it('is a child of the test where no intermediate is wanted', async () => {
    const use = async (pid: number): Promise<string> =>
      Promise.resolve(readFileSync(`/proc/${pid}/status`, 'latin1'))
    const status = await withVictim('plain', [], ({ pid }) => use(pid), { throughIntermediate: false })
    expect(status).toMatch(new RegExp(`^PPid:\\s+${process.pid}$`, 'm'))
  })

  it('is gone after stop even while it is stopped by a signal', async () => {
    const victim = await startVictim('plain')
    await suspend(victim.pid)
    expect(isStopped(victim.pid)).toBe(true)
    await victim.stop()
    expect(isGone(victim.pid)).toBe(true)
  })

  it('that fails to start is reported with what it complained of', async () => {
    await expect(startVictim('plain', ['--no-such-option'])).rejects.toThrow(/no-such-option/)
  })

  it('that ends on command answers no more', async () => {
    await withVictim('plain', [], async (victim) => {
      expect(await victim.request('exit')).toEqual({ exiting: true })
      await expect(victim.request('ping')).rejects.toThrow('ended')
    })
  })

  it('ends, even stopped, when the test that started it is killed', async () => {
    await withTempDir(async (directory) => {
      const starter = join(directory, 'starter.mjs')
      writeFileSync(
        starter,
        `import { startVictim } from ${JSON.stringify(new URL('./support/victim.js', import.meta.url).href)}
         const victims = [await startVictim('plain'), await startVictim('zombie-leader')]
         for (const { pid } of victims) process.kill(pid, 'SIGSTOP')
         console.log(\`pids \${victims.map(({ pid }) => pid).join(' ')} end\`)`,
      )
      const run = startProgram(starter, [])
      const pids = (await run.output(/pids .* end/)).split(' ').slice(1, -1).map(Number)
      expect(pids.map(isGone)).toEqual([false, false])
      run.kill('SIGKILL')
      await run.finished
      await Promise.all(pids.map(waitUntilGone))
    })
  })

  itIf(isRoot, 'needs root to become another user')('runs as another user', async () => {
    await withVictim(
      'plain',
      [],
      async ({ pid }) => {
        expect(readFileSync(`/proc/${pid}/status`, 'latin1')).toMatch(/^Uid:\s+65534\s+65534/m)
        await suspend(pid)
        expect(expectedPages(pid).required.length).toBeGreaterThan(160)
      },
      { uid: NOBODY },
    )
  })
})

describe('plain', () => {
  it.each([
    ['touching', []],
    ['apart', ['--gap']],
    ['huge', ['--thp']],
  ])('with VMAs %s holds the content of each page, all of it found by the oracle', async (_, words) => {
    const args = ['--vmas', '100', '--pages-per-vma', '33', ...words]
    await withVictim('plain', args, async ({ pid, facts, request }) => {
      const first = firstPage(facts)
      const stride = numberFact(facts, 'stridePages')
      const pages = pagesFrom(0, 100).flatMap((vma) => pagesFrom(first + vma * stride, 33))
      const written = numberFact(await request('write 7 9'), 'pages')
      await suspend(pid)
      const required = new Set(expectedPages(pid).required)
      expect(pages.filter((page) => !required.has(page))).toEqual([])
      expect(pagesUnlike(pid, pages, 1)).toHaveLength(written)
      expect(pagesUnlike(pid, pagesUnlike(pid, pages, 1), 9)).toEqual([])
      const starts = new Set(readVmas(pid).map((vma) => vma.startPage))
      expect(pagesFrom(1, 99).filter((vma) => !starts.has(first + vma * stride))).toEqual([])
    })
  })

  it('drops, unmaps, moves and maps memory, and forks, on command', async () => {
    await withVictim(
      'plain',
      ['--vmas', '4', '--pages-per-vma', '8', '--gap'],
      async ({ pid, facts, request }) => {
        const vma = (index: number): number[] => pagesFrom(firstPage(facts) + index * 9, 8)
        await request('discard 4')
        await request('unmap 1')
        const to = numberFact(await request('move 2'), 'to') / PAGE
        const fresh = firstPage(await request('map 5 3'))
        const child = numberFact(await request('fork'), 'pid')
        await suspend(pid)
        const required = new Set(expectedPages(pid).required)
        const count = (pages: readonly number[]): number => pages.filter((page) => required.has(page)).length
        expect([0, 1, 2, 3].map((index) => count(vma(index)))).toEqual([7, 0, 0, 7])
        expect([count(pagesFrom(to, 8)), count(pagesFrom(fresh, 5))]).toEqual([7, 5])
        expect(pagesUnlike(child, pagesFrom(fresh, 5), 3)).toEqual([])
      },
    )
  })
})

describe('sparse', () => {
  it('holds its few pages in 20 TiB', async () => {
    await withVictim('sparse', ['--span', '20480', '--pages', '1000'], async ({ pid, facts }) => {
      await suspend(pid)
      const pages = numbersFact(facts, 'pages')
      const mapping = { start: stringFact(facts, 'start'), pages: numberFact(facts, 'spanPages') }
      expect(within(expectedPages(pid).required, mapping)).toEqual(pages)
      expect(pagesUnlike(pid, pages, 1)).toEqual([])
    })
  })
})

describe('threads', () => {
  it('has the threads it was asked for, of which some spin and some come and go', async () => {
    const args = ['--threads', '50', '--spin', '2', '--churn', '2']
    await withVictim('threads', args, async ({ pid, facts, request }) => {
      const stable = numbersFact(facts, 'tids').filter((tid) => taskStates(pid).has(tid))
      expect(stable.length).toBeGreaterThan(52)
      const before = numberFact(await request('churned'), 'churned')
      await waitFor(async () => numberFact(await request('churned'), 'churned') > before)
      await waitFor(async () => numbersFact(await request('counts'), 'counts').every((count) => count > 0))
      await suspend(pid)
      expect(pagesUnlike(pid, pagesFrom(firstPage(facts), numberFact(facts, 'pages')), 1)).toEqual([])
    })
  })
})

describe('zombie-leader', () => {
  it('has lost its main thread and still answers, and the oracle sees its memory', async () => {
    await withVictim('zombie-leader', [], async ({ pid, facts, request }) => {
      expect(taskStates(pid).get(pid)).toBe('Z')
      expect(await request('ping')).toEqual({ pong: true })
      expect(isGone(pid)).toBe(false)
      await suspend(pid)
      const region = { start: stringFact(facts, 'start'), pages: numberFact(facts, 'pages') }
      expect(within(expectedPages(pid).required, region)).toHaveLength(region.pages)
    })
  })
})

describe('shared-mm', () => {
  it.each([
    ['clone', []],
    ['vfork', ['--vfork']],
  ])('shares its memory with another process by %s, which ends with it', async (_, args) => {
    const otherPid = await withVictim('shared-mm', args, ({ pid, facts }) => {
      const other = numberFact(facts, 'otherPid')
      const [page = 0] = pagesFrom(firstPage(facts), 1)
      expect(readProcessPage(other, page).equals(readProcessPage(pid, page))).toBe(true)
      expect(readFileSync(`/proc/${other}/maps`)).toEqual(readFileSync(`/proc/${pid}/maps`))
      expect([...taskStates(pid).values()].includes('D')).toBe(args.length > 0)
      return Promise.resolve(other)
    })
    await waitUntilGone(otherPid)
  })

  it('lets the thread in vfork go when the other process is released', async () => {
    await withVictim('shared-mm', ['--vfork'], async ({ pid, facts, request }) => {
      await request('release')
      await waitUntilGone(numberFact(facts, 'otherPid'))
      await suspend(pid)
    })
  })
})

describe('dirty-writer', () => {
  it('shows its order in every frozen instant', async () => {
    await withVictim('dirty-writer', [], async ({ pid, facts, request }) => {
      const before = numberFact(await request('rounds'), 'rounds')
      await suspend(pid)
      const sequence = (name: string): bigint[] =>
        pagesFrom(numberFact(facts, name) / PAGE, numberFact(facts, 'pairs')).map((page) =>
          readProcessPage(pid, page).readBigUInt64LE(),
        )
      const written = sequence('a').flatMap((a, pair) => [a, sequence('b')[pair] ?? 0n])
      expect(written.every((number, index) => index === 0 || number <= (written[index - 1] ?? 0n))).toBe(true)
      expect((written[0] ?? 0n) - (written.at(-1) ?? 0n)).toBeLessThanOrEqual(1n)
      expect(written[0]).toBeGreaterThanOrEqual(BigInt(before))
    })
  })
})

describe('elf32', () => {
  itIf(runs32Bit, 'this machine runs no 32-bit programs')(
    'is a 32-bit process that ends with its launcher',
    async () => {
      const pid = await withVictim('elf32', [], async (victim) => {
        expect(numberFact(victim.facts, 'elfClass')).toBe(1)
        expect(readFileSync(`/proc/${victim.pid}/maps`, 'latin1')).toMatch(/^08048000-/)
        await suspend(victim.pid)
        expect(expectedPages(victim.pid).required.length).toBeGreaterThan(0)
        return victim.pid
      })
      await waitUntilGone(pid)
    },
  )
})

describe('pid-namespace', () => {
  itIf(canUnshare, 'needs root and unshare(1)')('knows itself by another pid than we do', async () => {
    const args = ['--victim', 'plain', '--', '--vmas', '3']
    const pids = await withVictim('pid-namespace', args, async ({ pid, facts, request }) => {
      expect(numberFact(facts, 'innerPid')).toBe(1)
      expect(numberFact(facts, 'vmas')).toBe(3)
      expect(readFileSync(`/proc/${pid}/status`, 'latin1')).toMatch(
        new RegExp(`^NSpid:\\s+${pid}\\s+1$`, 'm'),
      )
      expect(await request('ping')).toEqual({ pong: true })
      return [pid, numberFact(facts, 'unshare'), numberFact(facts, 'launcher')]
    })
    await Promise.all(pids.map(waitUntilGone))
  })
})

describe('busy-signals', () => {
  it('counts every signal it was sent', async () => {
    await withVictim('busy-signals', [], async ({ request }) => {
      await waitFor(async () => numberFact(await request('counts'), 'received') > 100)
      const settled = await request('settle')
      expect(numberFact(settled, 'received')).toBe(numberFact(settled, 'sent'))
    })
  })
})

/** Asks again and again, each time waiting for the answer, until it is yes. The test's time limit ends it. */
async function waitFor(holds: () => Promise<boolean>): Promise<void> {
  while (!(await holds())) continue
}
