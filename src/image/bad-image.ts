/** The one way in which readers of this layer fail on what a file holds. */
import { messageOf, TidemarkError } from '../errors.js'

/**
 * A `BAD_IMAGE` error about `path`.
 *
 * @param what - what is wrong, e.g. `the magic at offset 4 is ...`
 */
export function badImage(path: string, what: string, cause?: unknown): TidemarkError {
  const reason = cause === undefined ? '' : `: ${messageOf(cause)}`
  return new TidemarkError('BAD_IMAGE', `${path}: ${what}${reason}`, { path }, cause)
}
