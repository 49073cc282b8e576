/** The progress bar: on a terminal only, and only for work that takes over a second. */
import { Presets, SingleBar } from 'cli-progress'
import type { DumpProgress } from '../index.js'
import { formatBytes } from './units.js'

const APPEARS_AFTER_MS = 1_000

/** Follows one dump. */
export class ProgressBar {
  readonly #begun = performance.now()
  readonly #enabled: boolean
  #bar: SingleBar | undefined

  /** @param wanted - false for --quiet and --json */
  constructor(wanted: boolean) {
    this.#enabled = wanted && process.stderr.isTTY
  }

  /** Shows the progress. */
  update(progress: DumpProgress): void {
    if (!this.#enabled || progress.totalBytes === 0) return
    if (this.#bar === undefined) {
      if (performance.now() - this.#begun < APPEARS_AFTER_MS) return
      this.#bar = new SingleBar(
        { stream: process.stderr, clearOnComplete: true, format: '{step} [{bar}] {percentage}% of {size}' },
        Presets.legacy,
      )
      this.#bar.start(progress.totalBytes, 0, { step: progress.step, size: formatBytes(progress.totalBytes) })
    }
    this.#bar.update(progress.doneBytes, { step: progress.step })
  }

  /** Takes the bar off the screen. */
  stop(): void {
    this.#bar?.stop()
  }
}
