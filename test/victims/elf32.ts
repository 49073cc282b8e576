/**
 * Victim: a 32-bit process, started from an executable that elf32-file.ts writes byte by byte.
 *
 * `pid` is the 32-bit process, `launcher` this one. It dies with its launcher.
 */
import { spawn } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { elf32Executable } from './elf32-file.js'
import { die, serve } from './session.js'

const path = join(tmpdir(), 'elf32')

/** Pid of the running child; throws where this kernel or machine starts no 32-bit programs. */
async function start(): Promise<number> {
  writeFileSync(path, elf32Executable(), { mode: 0o700 })
  const child = spawn(path, [], { stdio: ['ignore', 'pipe', 'inherit'] })
  await new Promise<void>((resolve, reject) => {
    child.once('error', reject)
    child.once('exit', (status, signal) => {
      reject(new Error(`the 32-bit program ended: ${String(status)} ${String(signal)}`))
    })
    child.stdout.once('data', () => {
      resolve()
    })
  })
  child.once('exit', die)
  return child.pid ?? 0
}

const pid = await start()
const elfClass = readFileSync(`/proc/${pid}/exe`)[4]
serve({ pid, launcher: process.pid, elfClass })
