/** Chooses where page bits come from. */
import type { KernelFeatures } from './features.js'
import { PagemapReader } from './pagemap-read.js'
import { PagemapScanner } from './pagemap-scan.js'
import type { PagemapSource } from './pagemap-source.js'
import { isGone, targetDied } from './procfs.js'

/**
 * The best source of page bits that this kernel has. The caller closes it. Throws `TARGET_DIED`.
 *
 * @param tid - a live thread of the process
 */
export function openPagemap(tid: number, features: KernelFeatures): PagemapSource {
  try {
    return features.pagemapScan ? new PagemapScanner(tid, features) : new PagemapReader(tid, features)
  } catch (error) {
    throw isGone(error) ? targetDied(tid, error) : error
  }
}
