/** The version of this package. */
import { readFileSync } from 'node:fs'

/** As in package.json, e.g. `1.2.3`. */
export const VERSION: string = readVersion()

function readVersion(): string {
  const text = readFileSync(new URL('../../../package.json', import.meta.url), 'utf8')
  return /"version": "([^"]+)"/.exec(text)?.[1] ?? 'unknown'
}
