/** The three trackers, where this kernel has what they need, and a fake: one contract. */
import { probeAsyncProtect } from '../../src/kernel/async-protect.js'
import { probeKernel } from '../../src/kernel/features.js'
import { contentTracker } from '../../src/track/content.js'
import { softDirtyTracker } from '../../src/track/soft-dirty.js'
import { uffdWpTracker } from '../../src/track/uffd-wp.js'
import { describeIf, hasSoftDirty } from '../support/privileges.js'
import { testTracker } from './contract.js'
import { fakeMemory } from './fake-memory.js'
import { ownMemory } from './own-memory.js'

testTracker('fake', fakeMemory)
testTracker('content', () => ownMemory(() => contentTracker))

describeIf(hasSoftDirty(), 'this kernel has no soft-dirty tracking')(
  'where the kernel has soft-dirty bits',
  () => {
    testTracker('soft-dirty', () => ownMemory(({ tid }) => softDirtyTracker(tid)))
  },
)

describeIf(probeAsyncProtect(probeKernel()), 'uffd-wp needs Linux 6.7')(
  'where the kernel write-protects',
  () => {
    testTracker('uffd-wp', () => ownMemory(uffdWpTracker))
  },
)
