import { writeFileSync } from 'node:fs'
import { describe, expect, it } from '@jest/globals'
import { RANGE_DIRTY } from '../../src/core/page-ranges.js'
import { SEGMENT_CLASS } from '../../src/core/segments.js'
import { probeKernel, type KernelFeatures } from '../../src/kernel/features.js'
import { openPagemap } from '../../src/kernel/open-pagemap.js'
import { PagemapReader } from '../../src/kernel/pagemap-read.js'
import { PagemapScanner } from '../../src/kernel/pagemap-scan.js'
import { numberFact, objectsFact } from '../support/facts.js'
import { pageSize } from '../support/kernel-vmas.js'
import { firstPage } from '../support/pages.js'
import { describeIf, isRoot } from '../support/privileges.js'
import { suspend } from '../support/processes.js'
import { withVictim } from '../support/victim.js'
import { scanAll, segmentsOf, testSource, withoutHugeZero } from './pagemap-contract.js'
import { slowPages } from './slow-pagemap.js'

const features = probeKernel()
const dirtyBit = features.softDirty ? 'soft-dirty' : 'all'
const ifScan = describeIf(features.pagemapScan, 'PAGEMAP_SCAN needs Linux 6.7')
const ifFrames = describeIf(isRoot, 'only CAP_SYS_ADMIN sees page frames, and so the zero page')

ifFrames('by reading entries', () => {
  testSource('/proc/PID/pagemap', (tid) => new PagemapReader(tid, features, dirtyBit))
})

describeIf(features.hugeZeroPfn !== undefined, 'needs CAP_SYS_ADMIN and transparent huge pages')(
  'the huge zero page, by reading entries',
  () => {
    it('is not stored, and its pages are told as the zero page', async () => {
      await withVictim('hard', [], async ({ pid, facts }) => {
        await suspend(pid)
        const region = objectsFact(facts, 'regions').find(({ name }) => name === 'huge-zero') ?? {}
        const from = firstPage(region)
        const to = from + numberFact(region, 'pages')
        const huge = slowPages(pid, from, to).filter(({ hugeZero }) => hugeZero)
        expect(huge).toHaveLength(to - from)
        const source = new PagemapReader(pid, features, dirtyBit)
        try {
          expect(scanAll(source, { from, to, storeClass: SEGMENT_CLASS.anonymous }, 5)).toEqual([])
          expect(source.describe(from)).toMatchObject({ present: true, zero: true })
          expect(source.describe(to - 1)).toMatchObject({ present: true, zero: true })
        } finally {
          source.close()
        }
      })
    })
  },
)

ifScan('by asking the kernel', () => {
  ifFrames('as compared with frames', () => {
    testSource('PAGEMAP_SCAN', (tid) => new PagemapScanner(tid, features, dirtyBit))
  })
})

describeIf(features.softDirtyCategory, 'needs PAGEMAP_SCAN with soft-dirty bits, Linux 6.8')(
  'the soft-dirty bits of huge pages, by asking the kernel',
  () => {
    it.each([
      ['trusted where it tells the huge zero page', true, 0],
      ['not trusted where it may not', false, 1024],
    ])('are %s', async (_, hugeZeroCategory, count) => {
      await withVictim(
        'plain',
        ['--vmas', '1', '--pages-per-vma', '1024', '--thp'],
        async ({ pid, facts }) => {
          await suspend(pid)
          writeFileSync(`/proc/${pid}/clear_refs`, '4')
          const from = numberFact(facts, 'start') / pageSize()
          const source = new PagemapScanner(pid, { ...features, hugeZeroCategory }, 'soft-dirty')
          try {
            const told = scanAll(source, { from, to: from + 1024, storeClass: SEGMENT_CLASS.anonymous }, 5)
            expect(told).toHaveLength(1024)
            expect(told.filter(([, flags]) => flags === RANGE_DIRTY)).toHaveLength(count)
          } finally {
            source.close()
          }
        },
      )
    })
  },
)

ifScan('both sources of page bits', () => {
  ifFrames('of one process', () => {
    it('tell the same pages and flags of every segment, with any room', async () => {
      await withVictim('hard', [], async ({ pid }) => {
        await suspend(pid)
        const sources = [
          new PagemapScanner(pid, features, dirtyBit),
          new PagemapReader(pid, features, dirtyBit),
        ]
        try {
          for (const segment of segmentsOf(pid)) {
            const [scanned, read] = sources.map((source, index) =>
              withoutHugeZero(pid, segment, scanAll(source, segment, index === 0 ? 20_000 : 5)),
            )
            expect([segment, scanned]).toEqual([segment, read])
          }
        } finally {
          for (const source of sources) source.close()
        }
      })
    })
  })
})

describe('opening a source of page bits', () => {
  it.each([
    ['PAGEMAP_SCAN', true],
    ['/proc/PID/pagemap', false],
  ])('takes %s as the features tell', (name, pagemapScan) => {
    const known: KernelFeatures = { ...features, pagemapScan }
    const source = openPagemap(process.pid, known, 'all')
    source.close()
    expect(source.name).toBe(name)
  })

  it('fails with TARGET_DIED for a process that is gone', () => {
    const died = expect.objectContaining({ code: 'TARGET_DIED', details: { pid: 2 ** 22 } })
    expect(() => openPagemap(2 ** 22, features, 'all')).toThrow(died)
  })
})
