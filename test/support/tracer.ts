/** Another process that traces one, as a debugger does. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect } from '@jest/globals'
import { startProgram, withTempDir } from './tool.js'

/** Runs `use` while another process traces thread `tid` of the victim. */
export async function whileTraced(tid: number, use: (tracer: number) => Promise<void>): Promise<void> {
  await withTempDir(async (directory) => {
    const program = join(directory, 'tracer.mjs')
    const libc = new URL('../../src/kernel/libc.js', import.meta.url).href
    const seize = '0x4206'
    writeFileSync(
      program,
      `import { ptrace } from ${JSON.stringify(libc)}
       console.log(ptrace(${seize}, ${String(tid)}, 0, 0) === 0 ? 'traced' : 'failed')
       setInterval(() => {}, 1e6)`,
    )
    const tracer = startProgram(program, [])
    try {
      expect(await tracer.output(/traced|failed/)).toBe('traced')
      await use(tracer.pid)
    } finally {
      tracer.kill('SIGKILL')
      await tracer.finished
    }
  })
}
