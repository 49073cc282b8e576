/** Directories for what the candidates write: gibibytes, some of them in memory, so they go away whatever happens. */
import { mkdtempSync, rmSync } from 'node:fs'
import { join } from 'node:path'

/** Runs `use` with a new directory in `parent`, and removes it afterwards, also at SIGINT and SIGTERM, which end the process. */
export async function withScratch<Result>(
  parent: string,
  use: (folder: string) => Promise<Result>,
): Promise<Result> {
  const folder = mkdtempSync(join(parent, 'tidemark-bench-'))
  const remove = (): void => {
    rmSync(folder, { recursive: true, force: true })
  }
  const end = (): void => {
    remove()
    process.exit(130)
  }
  process.once('SIGINT', end).once('SIGTERM', end)
  try {
    return await use(folder)
  } finally {
    process.off('SIGINT', end).off('SIGTERM', end)
    remove()
  }
}
