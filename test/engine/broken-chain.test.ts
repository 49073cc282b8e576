/** What speaks against a parent: each time the dump is full, says why, and reads back right. */
import {
  closeSync,
  cpSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import { expect, it } from '@jest/globals'
import { takeSnapshot } from '../../src/engine/dump.js'
import { settle, type DumpStep } from '../../src/engine/options.js'
import { runtimeDirectory } from '../../src/engine/interval-record.js'
import { dump, preDump, untrack, type DumpOptions, type DumpResult } from '../../src/index.js'
import { SEGMENT_CLASS } from '../../src/core/segments.js'
import { probeKernel } from '../../src/kernel/features.js'
import { PagemapProtector } from '../../src/kernel/pagemap-protect.js'
import { expectChainEqualsProcess } from '../support/chain-oracle.js'
import { numberFact } from '../support/facts.js'
import { pageSize } from '../support/kernel-vmas.js'
import { firstPage } from '../support/pages.js'
import { describeIf, kernelAtLeast } from '../support/privileges.js'
import { sendSignal } from '../support/processes.js'
import { withTempDir } from '../support/tool.js'
import { expectUnharmed } from '../support/unharmed.js'
import { withVictim, type Victim } from '../support/victim.js'

const ARGUMENTS = ['--vmas', '4', '--pages-per-vma', '64', '--gap']

interface Scene {
  readonly victim: Victim
  readonly folder: string
  readonly take: (name: string, more?: Partial<DumpOptions>) => Promise<DumpResult>
}

/** A victim with a first snapshot called 1, tracked by uffd-wp, and 10 pages written since. */
async function withFirst(use: (scene: Scene) => Promise<void>): Promise<void> {
  await withTempDir(async (folder) => {
    await withVictim('plain', ARGUMENTS, async (victim) => {
      const take = (name: string, more: Partial<DumpOptions> = {}): Promise<DumpResult> =>
        dump({ pid: victim.pid, imagesDir: join(folder, name), tracker: 'uffd-wp', sync: false, ...more })
      await take('1', { trackMem: true })
      await victim.request('write 10')
      await use({ victim, folder, take })
    })
  })
}

/** Takes snapshot `name` on `parent`: it must be full for the reason `why`, refused where that is asked for, and right. */
async function expectFull(
  { victim, folder, take }: Scene,
  parent: string,
  why: RegExp,
  more: Partial<DumpOptions> = {},
): Promise<void> {
  const on = { prevImagesDir: `../${parent}`, ...more }
  await expect(take('refused', { ...on, onBrokenChain: 'fail' })).rejects.toMatchObject({
    code: 'BROKEN_CHAIN',
    message: expect.stringMatching(why),
  })
  expect(existsSync(join(folder, 'refused'))).toBe(false)
  await expectUnharmed(victim)
  const result = await take('full', { ...on, leaveStopped: true })
  try {
    expect([result.fullBecause, result.pagesInParent, result.parent]).toEqual([
      expect.stringMatching(why),
      0,
      undefined,
    ])
    expect(result.warnings).toContain(`dumped in full: ${result.fullBecause}`)
    expect(readdirSync(join(folder, 'full'))).not.toContain('parent')
    expect(expectChainEqualsProcess(join(folder, 'full'), victim.pid).holes).toBe(0)
  } finally {
    sendSignal(victim.pid, 'SIGCONT')
  }
  await expectUnharmed(victim)
}

function editManifest(folder: string, edit: (text: string) => string): void {
  const path = join(folder, 'tidemark.json')
  const text = readFileSync(path, 'utf8')
  const edited = edit(text)
  expect(edited).not.toBe(text)
  writeFileSync(path, edited)
}

describeIf(kernelAtLeast(6, 7) && probeKernel().pagemapScan, 'uffd-wp needs Linux 6.7')(
  'a dump is full',
  () => {
    it('where a run with records of its own has reset the dirty bits', async () => {
      await withFirst(async (scene) => {
        const { victim, take } = scene
        const name = readdirSync(runtimeDirectory()).find((file) => file.startsWith(`${String(victim.pid)}-`))
        const record = join(runtimeDirectory(), name ?? '')
        const before = readFileSync(record)
        await take('elsewhere', { trackMem: true })
        // As if that had been written to another directory. And every page is dirty, so that no canary can tell.
        writeFileSync(record, before)
        await victim.request('write 5000')
        await expectFull(scene, '1', /keeps its records elsewhere/)
      })
    })

    it('not for what another process writes to its memory while it stands: the next increment has that', async () => {
      await withFirst(async ({ victim, folder, take }) => {
        const { pid } = victim
        const fd = openSync(`/proc/${String(pid)}/mem`, 'r+')
        const address = firstPage(victim.facts) * pageSize()
        for (const [index, capture] of (['copy', 'fork'] as const).entries()) {
          writeSync(fd, 'before', address)
          const imagesDir = join(folder, `written-${String(index)}`)
          const prevImagesDir = index === 0 ? '../1' : '../next-0'
          const settings = settle(
            { pid, imagesDir, prevImagesDir, tracker: 'uffd-wp', capture, sync: false },
            'dump',
          )
          const onStep = (step: DumpStep): void => {
            if (step === 'captured') writeSync(fd, 'meanwhile', address)
          }
          const written = await takeSnapshot({ ...settings, onStep })
          expect([written.fullBecause, written.capture.method]).toEqual(['', capture])
          const next = `next-${String(index)}`
          await take(next, { prevImagesDir: `../written-${String(index)}`, leaveStopped: true })
          expect(expectChainEqualsProcess(join(folder, next), pid).holes).toBeGreaterThan(200)
          sendSignal(pid, 'SIGCONT')
        }
        closeSync(fd)
      })
    })

    it('nor published where its parent goes away meanwhile', async () => {
      await withFirst(async ({ victim, folder }) => {
        const settings = settle(
          { pid: victim.pid, imagesDir: join(folder, '2'), prevImagesDir: '../1', sync: false },
          'dump',
        )
        const onStep = (step: DumpStep): void => {
          if (step === 'pages written') rmSync(join(folder, '1'), { recursive: true })
        }
        const failing = takeSnapshot({ ...settings, onStep })
        await expect(failing).rejects.toMatchObject({ code: 'BROKEN_CHAIN' })
        expect(existsSync(join(folder, '2'))).toBe(false)
        await expectUnharmed(victim)
      })
    })

    it('not where nothing speaks against it', async () => {
      await withFirst(async ({ victim, folder, take }) => {
        const result = await take('2', { prevImagesDir: '../1', leaveStopped: true, onBrokenChain: 'fail' })
        expect([result.fullBecause, result.parent]).toEqual(['', '../1'])
        expect(result.pagesInParent).toBeGreaterThan(200)
        expect(expectChainEqualsProcess(join(folder, '2'), victim.pid).holes).toBe(result.pagesInParent)
        sendSignal(victim.pid, 'SIGCONT')
      })
    })

    it('where the parent was taken without tracking', async () => {
      await withFirst(async (scene) => {
        await scene.take('plain', { tracker: 'auto' })
        await expectFull(scene, 'plain', /without tracking/)
      })
    })

    it('where the parent is not the last snapshot', async () => {
      await withFirst(async (scene) => {
        await scene.take('2', { prevImagesDir: '../1' })
        await scene.victim.request('write 20 7')
        await expectFull(scene, '1', /not the last snapshot/)
      })
    })

    it('where a later pre-dump has reset the dirty bits and is gone', async () => {
      await withFirst(async (scene) => {
        const { victim, folder } = scene
        await preDump({
          pid: victim.pid,
          imagesDir: join(folder, '2'),
          prevImagesDir: '../1',
          tracker: 'uffd-wp',
        })
        rmSync(join(folder, '2'), { recursive: true })
        await expectFull(scene, '1', /not the last snapshot/)
      })
    })

    it('not where the record is gone: then nobody can tell whose the userfaultfd is, and content compares', async () => {
      await withFirst(async ({ victim, folder, take }) => {
        for (const name of readdirSync(runtimeDirectory()))
          if (name.startsWith(`${String(victim.pid)}-`)) rmSync(join(runtimeDirectory(), name))
        const on = { prevImagesDir: '../1' }
        await expect(take('refused', on)).rejects.toMatchObject({ code: 'TRACKER_UNAVAILABLE' })
        const result = await take('2', { ...on, tracker: 'auto', leaveStopped: true })
        expect([result.fullBecause, result.tracker?.name]).toEqual(['', 'content'])
        expect(expectChainEqualsProcess(join(folder, '2'), victim.pid).holes).toBe(result.pagesInParent)
        sendSignal(victim.pid, 'SIGCONT')
      })
    })

    it('where tracking was taken off', async () => {
      await withFirst(async (scene) => {
        expect(await untrack({ pid: scene.victim.pid })).toMatchObject({ record: true, userfaultfd: true })
        await expectFull(scene, '1', /no record/)
      })
    })

    it('where another program has reset the bits', async () => {
      await withFirst(async (scene) => {
        protectAll(scene.victim.pid)
        await expectFull(scene, '1', /reset by another program/)
      })
    })

    it('where the tracker changes', async () => {
      await withFirst(async (scene) => {
        await scene.take('content', { tracker: 'content', trackMem: true })
        await expectFull(scene, 'content', /tracked by content, not by uffd-wp/)
      })
    })

    it('not where it changes to content, which compares', async () => {
      await withFirst(async ({ victim, folder, take }) => {
        const result = await take('2', { prevImagesDir: '../1', tracker: 'content', leaveStopped: true })
        expect(result.fullBecause).toBe('')
        expect(expectChainEqualsProcess(join(folder, '2'), victim.pid).holes).toBeGreaterThan(200)
        sendSignal(victim.pid, 'SIGCONT')
      })
    })

    it.each([
      ['boot', /booted/, (text: string) => text.replace(/("bootId": ").{8}/, '$100000000')],
      [
        'process that has ended',
        /earlier process/,
        (text: string) => text.replace(/("startTimeTicks": )\d+/, '$11'),
      ],
      [
        'program',
        /called exec/,
        (text: string) => text.replace(/("auxRandom": ")[0-9a-f]{32}/, `$1${'0'.repeat(32)}`),
      ],
    ] as const)('where the parent is of another %s', async (_name, why, edit) => {
      await withFirst(async (scene) => {
        editManifest(join(scene.folder, '1'), edit)
        await expectFull(scene, '1', why)
      })
    })

    it('where the parent is of another process', async () => {
      await withFirst(async (scene) => {
        await withVictim('plain', ARGUMENTS, async (other) => {
          await dump({
            pid: other.pid,
            imagesDir: join(scene.folder, 'other'),
            trackMem: true,
            tracker: 'uffd-wp',
          })
          await expectFull(scene, 'other', /is of process|no whole snapshot/)
        })
      })
    })

    it('where the parent is of the process that forked this one', async () => {
      await withFirst(async (scene) => {
        const child = numberFact(await scene.victim.request('fork'), 'pid')
        const result = await dump({
          pid: child,
          imagesDir: join(scene.folder, 'child'),
          prevImagesDir: '../1',
        })
        expect([result.pagesInParent, result.fullBecause]).toEqual([
          0,
          expect.stringMatching(/is of process|no whole/),
        ])
        await expectUnharmed(scene.victim)
      })
    })

    it('where the parent was never finished, or is damaged', async () => {
      await withFirst(async (scene) => {
        const { folder } = scene
        mkdirSync(join(folder, 'unfinished', '.tidemark-partial'), { recursive: true })
        await expectFull(scene, 'unfinished', /no whole snapshot/)
        cpSync(join(folder, '1'), join(folder, 'damaged'), { recursive: true })
        writeFileSync(join(folder, 'damaged', 'pages-1.img'), 'torn')
        rmSync(join(folder, 'full'), { recursive: true })
        await expectFull(scene, 'damaged', /no whole snapshot/)
      })
    })

    it.each(['../nothing', '.'])(
      'never silently for a parent %s that is none: that is an error',
      async (previous) => {
        await withFirst(async ({ take, folder, victim }) => {
          await expect(take('2', { prevImagesDir: previous })).rejects.toMatchObject({ code: 'BAD_OPTION' })
          expect(existsSync(join(folder, '2'))).toBe(false)
          await expectUnharmed(victim)
        })
      },
    )
  },
)

/** Resets the bits as another program would. */
function protectAll(pid: number): void {
  const protector = new PagemapProtector(pid, probeKernel())
  try {
    let protectedPages = 0
    let range = ''
    for (const line of readFileSync(`/proc/${String(pid)}/smaps`, 'latin1').split('\n')) {
      range = /^[0-9a-f]+-[0-9a-f]+ /.exec(line)?.[0] ?? range
      if (!line.startsWith('VmFlags:') || !line.includes(' uw')) continue
      const [from = 0, to = 0] = range.split('-').map((address) => Number(`0x${address}`) / pageSize())
      protector.protect(from, to, SEGMENT_CLASS.anonymous, (start, end) => {
        protectedPages += end - start
      })
    }
    expect(protectedPages).toBeGreaterThan(0)
  } finally {
    protector.close()
  }
}
