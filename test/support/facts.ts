/**
 * Reads what a victim says of itself, with a check of each value's type.
 */

/** A JSON object of unknown contents. */
export type Facts = Readonly<Record<string, unknown>>

/** Whether `value` is a JSON object. */
export function isFacts(value: unknown): value is Facts {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** The JSON object that `line` holds. Throws where it holds none. */
export function parseFacts(line: string): Facts {
  const value: unknown = JSON.parse(line)
  if (!isFacts(value)) throw new Error(`not a JSON object: ${line}`)
  return value
}

/** The number `facts[key]`; addresses in hex count as numbers. */
export function numberFact(facts: Facts, key: string): number {
  const value = facts[key]
  const number = typeof value === 'string' && value.startsWith('0x') ? Number(value) : value
  if (typeof number !== 'number' || Number.isNaN(number))
    throw new Error(`no number ${key} in ${JSON.stringify(facts)}`)
  return number
}

/** The string `facts[key]`. */
export function stringFact(facts: Facts, key: string): string {
  const value = facts[key]
  if (typeof value !== 'string') throw new Error(`no string ${key} in ${JSON.stringify(facts)}`)
  return value
}

/** The array `facts[key]`. */
export function listFact(facts: Facts, key: string): readonly unknown[] {
  const value = facts[key]
  if (!Array.isArray(value)) throw new Error(`no list ${key} in ${JSON.stringify(facts)}`)
  return value
}

/** The array of numbers `facts[key]`. */
export function numbersFact(facts: Facts, key: string): readonly number[] {
  return listFact(facts, key).map((value) => {
    if (typeof value !== 'number') throw new Error(`${key} holds ${String(value)}`)
    return value
  })
}

/** The array of objects `facts[key]`. */
export function objectsFact(facts: Facts, key: string): readonly Facts[] {
  return listFact(facts, key).map((value) => {
    if (!isFacts(value)) throw new Error(`${key} holds ${String(value)}`)
    return value
  })
}
