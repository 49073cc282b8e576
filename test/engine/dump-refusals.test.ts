import { spawnSync } from 'node:child_process'
import { chmodSync, copyFileSync, existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from '@jest/globals'
import { dump } from '../../src/index.js'
import { numberFact } from '../support/facts.js'
import { isRoot, itIf, NOBODY } from '../support/privileges.js'
import { taskStates, waitUntil } from '../support/processes.js'
import { expectError, expectRefused } from '../support/refusals.js'
import { startShellTool, withShell } from '../support/shell.js'
import { dumpWords } from '../support/snapshots.js'
import { TOOL_PATH, withTempDir } from '../support/tool.js'
import { whileTraced } from '../support/tracer.js'
import { expectRunning, expectUnharmed, isRunning, tracersOf } from '../support/unharmed.js'
import { startVictim, type Victim, withVictim } from '../support/victim.js'

const runs32Bit = await startVictim('elf32').then(
  (victim) => victim.stop().then(() => true),
  () => false,
)
const seesKernelThreads = readText('/proc/2/comm').startsWith('kthreadd')
/** Whether another user can run the command from this checkout. */
const othersCanRun =
  isRoot && spawnSync(process.execPath, [TOOL_PATH, '--version'], { uid: NOBODY, gid: NOBODY }).status === 0
const NOT_FOR_OTHERS = 'needs root, and a checkout that other users can read'

describe('a dump is refused', () => {
  it('where there is no such process', async () => {
    const { pid: gone } = spawnSync(process.execPath, ['-e', ''])
    expect(await expectRefused(gone, 'NO_SUCH_PROCESS')).toContain(`process ${String(gone)}`)
  })

  it('of a thread, and its process is named', async () => {
    await withVictim('threads', ['--threads', '1'], async (victim) => {
      const tid = [...taskStates(victim.pid).keys()].find((id) => id !== victim.pid) ?? 0
      expect(await expectRefused(tid, 'NO_SUCH_PROCESS')).toContain(`process ${String(victim.pid)}`)
      await expectUnharmed(victim)
    })
  })

  it('of the process that asks for it, and of its threads', async () => {
    await withTempDir(async (directory) => {
      const imagesDir = join(directory, 'images')
      for (const pid of readdirSync('/proc/self/task').map(Number)) {
        await expect(dump({ pid, imagesDir })).rejects.toMatchObject({
          code: 'OWN_PROCESS',
          details: { pid },
        })
      }
      expect(existsSync(imagesDir)).toBe(false)
    })
  })

  it('of a process above the command', async () => {
    for (const pid of [process.pid, process.ppid]) {
      expect(await expectRefused(pid, 'OWN_PIPELINE')).toContain(`process ${String(pid)}`)
      expect(isRunning(pid)).toBe(true)
    }
  })

  const target = `sh -c 'echo $$ >"$0/new"; mv "$0/new" "$0/pid"; exec sleep 600' "$dir"`
  const command = `{ until [ -e "$dir/pid" ]; do :; done
    "$@" -t "$(cat "$dir/pid")" 2>"$dir/errors"; echo $? >"$dir/status"
    cat "/proc/$(cat "$dir/pid")/stat" >"$dir/stat"; kill -KILL "$(cat "$dir/pid")"; }`
  it.each([
    ['reads its output', `${command} | ${target}`],
    ['writes its input', `${target} | ${command}`],
  ])('of the process that %s through a pipe', async (_, pipeline) => {
    await withTempDir((directory) => {
      const images = join(directory, 'images')
      const words = [process.execPath, TOOL_PATH, 'dump', '--no-sync', '-D', images]
      spawnSync('sh', ['-c', `dir=$1; shift; ${pipeline}`, 'sh', directory, ...words])
      expect(readText(join(directory, 'errors'))).toMatch(/^tidemark: OWN_PIPELINE: [^\n]+\n$/)
      expect(readText(join(directory, 'status'))).toBe('3\n')
      expect(readText(join(directory, 'stat'))).toMatch(/ \(sleep\) S /)
      expect(existsSync(images)).toBe(false)
      return Promise.resolve()
    })
  })

  it('of the process that reads its output through a named pipe', async () => {
    await withTempDir(async (directory) => {
      const fifo = join(directory, 'fifo')
      spawnSync('mkfifo', [fifo])
      await withShell(`sleep 600 <"${fifo}" & echo $!; exec 3>"${fifo}"; wait`, async (firstLine) => {
        const images = join(directory, 'images')
        const run = startShellTool(`exec "$@" >"${fifo}"`, dumpWords(firstLine, images))
        expectError(await run.finished, 'OWN_PIPELINE')
      })
    })
  })

  itIf(seesKernelThreads, 'this machine hides kernel threads')('of a kernel thread', async () => {
    expect(await expectRefused(2, 'KERNEL_THREAD')).toContain('kthreadd')
  })

  it('of a zombie', async () => {
    // The shell becomes a program that does not wait for the shell's child, which ends only then.
    const child = `sh -c 'until [ "$(cat /proc/$PPID/comm)" = sleep ]; do :; done'`
    await withShell(`${child} & echo $!; exec sleep 600`, async (firstLine) => {
      const zombie = Number(firstLine)
      await waitUntil('a zombie', () => taskStates(zombie).get(zombie) === 'Z')
      await expectRefused(zombie, 'ZOMBIE')
      expect(taskStates(zombie).get(zombie)).toBe('Z')
    })
  })

  itIf(runs32Bit, 'this machine runs no 32-bit programs')('of a 32-bit process', async () => {
    await withVictim('elf32', [], async ({ pid }) => {
      await expectRefused(pid, 'NOT_64_BIT')
      await expectRunning(pid)
    })
  })

  it('of a process whose memory another one shares, and both run on', async () => {
    await withVictim('shared-mm', [], async (victim) => {
      const other = numberFact(victim.facts, 'otherPid')
      const line = await expectRefused(victim.pid, 'SHARED_MM')
      expect(line).toContain(`process ${String(other)}`)
      expect(line).not.toContain('end it')
      await expectUnharmed(victim)
      await expectRunning(other)
    })
  })
})

describe('a dump of a traced process is refused, and the tracer named,', () => {
  it.each([
    ['all of it', (victim: Victim) => victim.pid],
    ['one thread', ({ pid }: Victim) => [...taskStates(pid).keys()].find((tid) => tid !== pid) ?? 0],
  ])('be it %s that is traced', async (_, choose) => {
    await withVictim('threads', ['--threads', '2'], async (victim) => {
      await whileTraced(choose(victim), async (tracer) => {
        const line = await expectRefused(victim.pid, 'ALREADY_TRACED')
        const comm = readFileSync(`/proc/${String(tracer)}/comm`, 'utf8').trimEnd()
        expect(line).toContain(`process ${String(tracer)} (${comm})`)
        expect(isRunning(victim.pid)).toBe(true)
        expect(tracersOf(victim.pid)).toEqual([tracer])
        expect(await victim.request('ping')).toEqual({ pong: true })
      })
      await expectUnharmed(victim)
    })
  })
})

describe('a dump without permission is refused, and the reason named,', () => {
  const asNobody = { uid: NOBODY, cwd: '/' }

  itIf(othersCanRun, NOT_FOR_OTHERS)('for a process of another user', async () => {
    await withVictim('plain', [], async (victim) => {
      const line = await expectRefused(victim.pid, 'PERMISSION_DENIED', asNobody)
      expect(line).toContain('uid 0')
      expect(line).toContain('65534')
      await expectUnharmed(victim)
    })
  })

  itIf(othersCanRun, NOT_FOR_OTHERS)('for a process of the same user that is not dumpable', async () => {
    await withTempDir(async (directory) => {
      // A program that its user cannot read is not dumpable. source: fs/exec.c would_dump
      const program = join(directory, 'unreadable')
      chmodSync(directory, 0o755)
      copyFileSync('/bin/sleep', program)
      chmodSync(program, 0o711)
      const options = { uid: NOBODY }
      await withShell(
        `"${program}" 600 & echo $!; wait`,
        async (firstLine) => {
          const pid = Number(firstLine)
          await waitUntil('the program', () => readText(`/proc/${pid}/comm`) === 'unreadable\n')
          expect(await expectRefused(pid, 'PERMISSION_DENIED', asNobody)).toContain('dumpable')
          await expectRunning(pid)
        },
        options,
      )
    })
  })
})

function readText(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return ''
  }
}
