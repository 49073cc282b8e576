/**
 * Victim: another process shares its memory.
 *
 *   --vfork     as a vfork child does, whose maker (a thread) waits in the kernel; else by clone(CLONE_VM)
 *   --pages P   filled pages (256)
 *
 * Facts: `otherPid`, `start`, `pages`. Command `release` kills the other process.
 */
import { parseArgs } from 'node:util'
import { viewOf } from './libc.js'
import { loadCode, vforkAndPause } from './machine-code.js'
import { fill, hex, mapPages } from './memory.js'
import { startPausedChild, startThread } from './processes.js'
import { serve } from './session.js'

const CLONE_VM = 0x100

const { values } = parseArgs({
  options: { vfork: { type: 'boolean', default: false }, pages: { type: 'string', default: '256' } },
})
const pages = Number(values.pages)
const start = mapPages(pages)
fill(start, pages, 1)

/** Pid of a child in whose vfork a thread of ours hangs. The kernel writes it before the thread waits. */
function startVfork(): number {
  const place = mapPages(1)
  startThread(loadCode(vforkAndPause), place)
  const pid = new Int32Array(viewOf(place, 4))
  const pause = new Int32Array(new SharedArrayBuffer(4))
  while (Atomics.load(pid, 0) === 0) Atomics.wait(pause, 0, 0, 1)
  return Atomics.load(pid, 0)
}

const otherPid = values.vfork ? startVfork() : startPausedChild(CLONE_VM)

serve(
  { otherPid, start: hex(start), pages },
  { release: () => ({ killed: process.kill(otherPid, 'SIGKILL'), otherPid }) },
)
