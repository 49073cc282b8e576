/** Numbers as people read them, and back. */
import { TidemarkError } from '../index.js'

/** The highest process id that Linux can give. source: include/linux/threads.h PID_MAX_LIMIT */
export const MAX_PID = 2 ** 22

const SUFFIXES = ['B', 'KiB', 'MiB', 'GiB', 'TiB'] as const

/** `1.5 GiB` and the like. */
export function formatBytes(bytes: number): string {
  let value = bytes
  let step = 0
  while (value >= 1024 && step < SUFFIXES.length - 1) {
    value /= 1024
    step++
  }
  const digits = step === 0 || value >= 100 ? 0 : 1
  return `${value.toFixed(digits)} ${SUFFIXES[step] ?? 'B'}`
}

/** `12.3 ms` or `1.23 s` from microseconds. */
export function formatMicros(micros: number): string {
  if (micros < 1e6) return `${(micros / 1000).toFixed(micros < 1e5 ? 1 : 0)} ms`
  return `${(micros / 1e6).toFixed(2)} s`
}

/** `3.2 GiB/s`, or `-` where there is nothing to divide by. */
export function formatRate(bytes: number, micros: number): string {
  return micros <= 0 || bytes <= 0 ? '-' : `${formatBytes((bytes / micros) * 1e6)}/s`
}

/** `1 page`, `2 pages`. */
export function plural(count: number, noun: string): string {
  return `${count.toLocaleString('en-US')} ${noun}${count === 1 ? '' : 's'}`
}

/** Bytes from `64M`, `1.5G`, `4096`. Throws `BAD_OPTION`. */
export function parseBytes(option: string, text: string): number {
  const match = /^(\d+(?:\.\d+)?)\s*([kmgt]?)(?:i?b)?$/i.exec(text)
  if (match === null) throw badOption(option, text, 'a size such as 4096, 64M or 1.5G')
  const power = ['', 'k', 'm', 'g', 't'].indexOf((match[2] ?? '').toLowerCase())
  const bytes = Math.floor(Number(match[1]) * 1024 ** power)
  if (!Number.isSafeInteger(bytes)) throw badOption(option, text, 'a size below 8192T')
  return bytes
}

/** Milliseconds from seconds such as `5` or `0.5`. Throws `BAD_OPTION`. */
export function parseSeconds(option: string, text: string): number {
  const seconds = /^\d+(\.\d+)?$/.test(text) ? Number(text) : NaN
  if (!(seconds > 0) || seconds > 86_400)
    throw badOption(option, text, 'a number of seconds above 0, at most 86400')
  return Math.max(1, Math.round(seconds * 1000))
}

/** A whole number from `least` to `most`. Throws `BAD_OPTION`. */
export function parseWhole(option: string, text: string, least: number, most: number): number {
  const value = /^\d+$/.test(text) ? Number(text) : NaN
  if (value >= least && value <= most) return value
  throw badOption(option, text, `a whole number from ${String(least)} to ${String(most)}`)
}

/** An address from `0x7f..` or hex digits alone, as /proc/PID/maps prints them. Throws `BAD_OPTION`. */
export function parseAddress(option: string, text: string): number {
  const digits = /^(?:0x)?([0-9a-f]{1,16})$/i.exec(text)?.[1]
  if (digits === undefined) throw badOption(option, text, 'an address in hex, such as 0x7f0012345000')
  return parseInt(digits, 16)
}

/** The error for a value that an option does not take. */
function badOption(option: string, text: string, wanted: string): TidemarkError {
  return new TidemarkError('BAD_OPTION', `--${option} must be ${wanted}, not '${text}'`, { option })
}
