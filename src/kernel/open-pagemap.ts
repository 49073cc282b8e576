/** Chooses where page bits come from. */
import type { DirtyBit } from '../core/page-ranges.js'
import type { KernelFeatures } from './features.js'
import { PagemapReader } from './pagemap-read.js'
import { PagemapScanner } from './pagemap-scan.js'
import type { PagemapSource } from './pagemap-source.js'
import { isGone, targetDied } from './procfs.js'

/**
 * The best source of page bits that this kernel has. The caller closes it. Throws `TARGET_DIED`.
 *
 * @param tid - a live thread of the process
 * @param dirtyBit - what marks a range as dirty; `written` needs PAGEMAP_SCAN
 */
export function openPagemap(tid: number, features: KernelFeatures, dirtyBit: DirtyBit): PagemapSource {
  try {
    return features.pagemapScan
      ? new PagemapScanner(tid, features, dirtyBit)
      : new PagemapReader(tid, features, dirtyBit)
  } catch (error) {
    throw isGone(error) ? targetDied(tid, error) : error
  }
}
