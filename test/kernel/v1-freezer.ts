/**
 * A cgroup of the version 1 freezer for one test. Needs root and that hierarchy.
 */
import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { isRoot } from '../support/privileges.js'
import { waitUntil } from '../support/processes.js'

const MOUNT = '/sys/fs/cgroup/freezer'

/** Whether {@link withFreezer} works here. */
export const hasV1Freezer = isRoot && existsSync(join(MOUNT, 'cgroup.procs'))

/** A cgroup, in which there may be processes. */
export interface FreezerGroup {
  readonly stateFile: string
  readonly add: (pid: number) => void
  /** Resolves when everything in it is frozen. */
  readonly freeze: () => Promise<void>
  readonly thaw: () => void
}

/** Runs `use` with a fresh cgroup below `parent`, which is thawed, emptied and removed afterwards. */
export async function withFreezer<Result>(
  use: (group: FreezerGroup) => Promise<Result>,
  parent = '',
): Promise<Result> {
  const folder = join(MOUNT, parent, `tidemark-test-${String(process.pid)}`)
  const stateFile = join(folder, 'freezer.state')
  mkdirSync(folder)
  const thaw = (): void => writeFileSync(stateFile, 'THAWED')
  try {
    return await use({
      stateFile,
      add: (pid) => writeFileSync(join(folder, 'cgroup.procs'), String(pid)),
      freeze: async () => {
        writeFileSync(stateFile, 'FROZEN')
        await waitUntil('the cgroup to freeze', () => readFileSync(stateFile, 'latin1').trim() === 'FROZEN')
      },
      thaw,
    })
  } finally {
    thaw()
    for (const pid of readFileSync(join(folder, 'cgroup.procs'), 'latin1').split('\n')) {
      if (pid !== '') writeFileSync(join(MOUNT, parent, 'cgroup.procs'), pid)
    }
    rmdirSync(folder)
  }
}
