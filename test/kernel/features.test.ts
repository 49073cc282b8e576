import { describe, expect, it } from '@jest/globals'
import { probeKernel } from '../../src/kernel/features.js'
import { hasSoftDirty, isRoot, itIf, kernelAtLeast } from '../support/privileges.js'
import { zeroFrames } from '../support/zero-frames.js'
import { asNobody } from './as-user.js'

describe('what the kernel can tell of pages', () => {
  it('is what its version and its build imply', () => {
    const { pagemapScan, guardCategory, softDirty, softDirtyCategory } = probeKernel()
    expect(softDirtyCategory).toBe(kernelAtLeast(6, 8))
    expect(pagemapScan).toBe(kernelAtLeast(6, 7))
    expect(guardCategory).toBe(kernelAtLeast(6, 15))
    expect(softDirty).toBe(hasSoftDirty())
  })

  itIf(isRoot, 'only CAP_SYS_ADMIN sees page frames')('names the zero page to who may see frames', () => {
    expect(zeroFrames().zero).toBeGreaterThan(0)
    expect(probeKernel().zeroPfn).toBe(zeroFrames().zero)
  })

  itIf(isRoot, 'only CAP_SYS_ADMIN sees page frames')('names the huge zero page, if there is one', () => {
    const { hugeZero } = zeroFrames()
    const { hugeZeroPfn, hugeZeroHidden } = probeKernel()
    expect([hugeZeroPfn, hugeZeroHidden]).toEqual([hugeZero === 0 ? undefined : hugeZero, false])
  })

  itIf(isRoot, 'only root can start a process of another user')(
    'is the same for an ordinary user, but for the zero pages',
    async () => {
      const { pagemapScan, guardCategory, softDirty, softDirtyCategory, hugeZeroCategory } = probeKernel()
      const told = { pagemapScan, guardCategory, softDirty, softDirtyCategory, hugeZeroCategory }
      const hugeZeroHidden: unknown = expect.any(Boolean)
      expect(await asNobody(['features'])).toEqual({ ...told, hugeZeroHidden })
    },
  )

  it('is probed once', () => {
    expect(probeKernel()).toBe(probeKernel())
  })
})
