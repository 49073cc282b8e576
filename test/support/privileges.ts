/**
 * Tests that need something which not every machine has, skipped aloud where it is missing.
 */
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { describe, it } from '@jest/globals'

/** A uid and gid without any rights, for tests as root that need an ordinary user. */
export const NOBODY = 65534

/** Whether the tests run as root. */
export const isRoot = process.getuid?.() === 0

/** Linux's version, e.g. `[6, 18]`. */
function kernelVersion(): readonly [major: number, minor: number] {
  const [major = '0', minor = '0'] = readFileSync('/proc/sys/kernel/osrelease', 'latin1').split('.')
  return [Number.parseInt(major, 10), Number.parseInt(minor, 10)]
}

/** Whether Linux is at least version `major.minor`. */
export function kernelAtLeast(major: number, minor: number): boolean {
  const [ownMajor, ownMinor] = kernelVersion()
  return ownMajor > major || (ownMajor === major && ownMinor >= minor)
}

/** Whether the kernel was built with soft-dirty tracking, as the VmFlags word `sd` of fresh memory shows. */
export function hasSoftDirty(): boolean {
  // Of a new process: ours may have reset its bits by now.
  return /^VmFlags:.*\bsd\b/m.test(spawnSync('cat', ['/proc/self/smaps'], { encoding: 'latin1' }).stdout)
}

/** Registers a test, or where `condition` is false a skipped one whose `reason` is printed. */
export type Registration = (name: string, body: () => void | Promise<void>, timeoutMs?: number) => void

/** `it` where `condition` holds; else a skip that prints its `reason`. */
export function itIf(condition: boolean, reason: string): Registration {
  if (condition)
    return (name, body, timeoutMs) => {
      it(name, body, timeoutMs)
    }
  return (name, body) => {
    announce(name, reason)
    it.skip(`${name} [skipped: ${reason}]`, body)
  }
}

/** `describe` where `condition` holds; else a skip that prints its `reason`. */
export function describeIf(condition: boolean, reason: string): (name: string, body: () => void) => void {
  if (condition)
    return (name, body) => {
      describe(name, body)
    }
  return (name, body) => {
    announce(name, reason)
    describe.skip(`${name} [skipped: ${reason}]`, body)
  }
}

function announce(name: string, reason: string): void {
  process.stderr.write(`skipped: ${name}: ${reason}\n`)
}
