/** Strict reading of a JSON object: each getter checks one field, and fails with `BAD_IMAGE` that names it. */
import { badImage } from './bad-image.js'

/** The fields of one JSON object. */
export class JsonFields {
  readonly #object: ReadonlyMap<string, unknown>
  readonly #path: string
  readonly #prefix: string

  /**
   * @param value - what JSON.parse gave
   * @param path - of the file, for errors
   * @param prefix - where in the file the object is, e.g. `target.`, for errors
   */
  constructor(value: unknown, path: string, prefix = '') {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) {
      throw badImage(path, `${prefix === '' ? 'the whole' : `field ${prefix.slice(0, -1)}`} is not an object`)
    }
    this.#object = new Map(Object.entries(value))
    this.#path = path
    this.#prefix = prefix
  }

  /** A string that `pattern`, if given, matches. */
  text(field: string, pattern?: RegExp): string {
    const value = this.#get(field)
    if (typeof value !== 'string') throw this.#bad(field, 'is not a string')
    if (pattern !== undefined && !pattern.test(value))
      throw this.#bad(field, `is not valid: ${JSON.stringify(value)}`)
    return value
  }

  /** A whole number from 0 to 2^53 - 1. */
  count(field: string): number {
    const value = this.#get(field)
    if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < 0) {
      throw this.#bad(field, 'is not a whole number from 0')
    }
    return value
  }

  /** Whether the object has `field`. */
  has(field: string): boolean {
    return this.#object.has(field)
  }

  flag(field: string): boolean {
    const value = this.#get(field)
    if (typeof value !== 'boolean') throw this.#bad(field, 'is not true or false')
    return value
  }

  object(field: string): JsonFields {
    return new JsonFields(this.#get(field), this.#path, `${this.#prefix}${field}.`)
  }

  /** An array of objects, each made by `decode`. */
  objects<T>(field: string, decode: (item: JsonFields) => T): T[] {
    return this.#array(field).map((item, index) =>
      decode(new JsonFields(item, this.#path, `${this.#prefix}${field}[${index}].`)),
    )
  }

  texts(field: string): string[] {
    return this.#array(field).map((item, index) => {
      if (typeof item !== 'string') throw this.#bad(`${field}[${index}]`, 'is not a string')
      return item
    })
  }

  /** An object whose fields may have any name and are finite numbers. */
  numbers(field: string): Record<string, number> {
    const fields = this.object(field)
    return Object.fromEntries([...fields.#object.keys()].map((key) => [key, fields.#finite(key)]))
  }

  #finite(field: string): number {
    const value = this.#get(field)
    if (typeof value !== 'number' || !Number.isFinite(value)) throw this.#bad(field, 'is not a number')
    return value
  }

  #array(field: string): readonly unknown[] {
    const value = this.#get(field)
    if (!Array.isArray(value)) throw this.#bad(field, 'is not an array')
    return value
  }

  #get(field: string): unknown {
    if (!this.#object.has(field)) throw this.#bad(field, 'is missing')
    return this.#object.get(field)
  }

  #bad(field: string, what: string): Error {
    return badImage(this.#path, `field ${this.#prefix}${field} ${what}`)
  }
}
