/**
 * Write-protects pages that were written: the reset of the write-protection tracker.
 *
 * Only pages that hold something are touched. Protecting the others too would fill empty page tables with
 * markers, which look like swapped pages afterwards.
 */
import { SEGMENT_CLASS } from '../core/segments.js'
import { PAGE_IS, PM_SCAN } from './abi.js'
import type { KernelFeatures } from './features.js'
import { ScanIoctl } from './scan-ioctl.js'

/** Protects pages of one process. Belongs to the thread that made it. */
export class PagemapProtector {
  readonly #ioctl: ScanIoctl

  /** Categories of guard pages, as far as the kernel tells them apart. */
  readonly #guard: number

  /** @param tid - a live thread of the process */
  constructor(tid: number, features: KernelFeatures) {
    this.#ioctl = new ScanIoctl(tid)
    this.#guard = features.guardCategory ? PAGE_IS.GUARD : 0
  }

  /**
   * Protects the written pages of [`from`, `to`) that a segment of class `storeClass` stores.
   *
   * @param visit - gets each range that was protected
   * @param isRehearsal - finds them only
   * @throws SYSCALL_FAILED where a VMA there is not registered (EPERM)
   */
  protect(
    from: number,
    to: number,
    storeClass: number,
    visit: (start: number, end: number) => void,
    isRehearsal = false,
  ): void {
    this.#ioctl.ask({
      wanted: PAGE_IS.WRITTEN,
      unwanted: this.#guard | (storeClass === SEGMENT_CLASS['file-private'] ? PAGE_IS.FILE : PAGE_IS.PFNZERO),
      returned: PAGE_IS.WRITTEN,
      flags: isRehearsal ? 0 : PM_SCAN.WP_MATCHING | PM_SCAN.CHECK_WPASYNC,
    })
    for (let at = from; at < to;) {
      const found = this.#ioctl.call(at, to)
      for (let index = 0; index < found; index++) visit(this.#ioctl.start(index), this.#ioctl.end(index))
      at = this.#ioctl.resume(found, to)
    }
  }

  close(): void {
    this.#ioctl.close()
  }
}
