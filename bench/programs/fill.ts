/** The data that every program is filled with: known to the client too, so that any of it can be checked. */

const VALUE_LENGTH = 1024
const PAIRS_PER_MIB = 1024

/** Pairs that make `mib` MiB. */
export function fillCount(mib: number): number {
  return mib * PAIRS_PER_MIB
}

/** Key of pair `index`. */
export function fillKey(index: number): string {
  return `fill-${String(index)}`
}

/** Value of pair `index`: its number, a dash, its number again, up to 1,024 characters. The servers make the same. */
export function fillValue(index: number): string {
  const word = `${String(index)}-`
  return word.repeat(Math.ceil(VALUE_LENGTH / word.length)).slice(0, VALUE_LENGTH)
}
