import { describe, expect, it } from '@jest/globals'
import { probeAsyncProtect } from '../../src/kernel/async-protect.js'
import { probeKernel } from '../../src/kernel/features.js'
import { findUserfaultfds } from '../../src/kernel/userfaultfd.js'
import { kernelAtLeast } from '../support/privileges.js'

describe('whether asynchronous write protection works', () => {
  it('is what the version of Linux implies, and leaves no descriptor behind', () => {
    const before = findUserfaultfds(process.pid)
    expect(probeAsyncProtect(probeKernel())).toBe(kernelAtLeast(6, 7))
    expect(findUserfaultfds(process.pid)).toEqual(before)
  })

  it('is probed once', () => {
    const first = probeAsyncProtect(probeKernel())
    expect(probeAsyncProtect({ ...probeKernel(), pagemapScan: !first })).toBe(first)
  })
})
