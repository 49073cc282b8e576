/** Images that hold messages of one type only: files.img, pstree.img, and those of a single message. */
import { badImage } from './bad-image.js'
import { frameMessages, unframeMessages, unframeSingle } from './container.js'
import type { Messages } from './messages.js'
import { decodeMessage, encodeMessage } from './schema.js'

/** An image file of messages of type `name`. */
export function encodeImage<Name extends keyof Messages>(
  magics: readonly number[],
  name: Name,
  messages: readonly Messages[Name][],
): Uint8Array {
  return frameMessages(
    magics,
    messages.map((message) => encodeMessage(name, message)),
  )
}

/** The messages of an image file. Throws `BAD_IMAGE` on a bad frame or message. */
export function decodeImage<Name extends keyof Messages>(
  magics: readonly number[],
  name: Name,
  bytes: Uint8Array,
  path: string,
): Messages[Name][] {
  return unframeMessages(bytes, magics, path).map((message) => decodeOrBlame(name, message, path))
}

/** The message of an image file that has exactly one. Throws `BAD_IMAGE` on any other number, a bad frame or message. */
export function decodeSingleImage<Name extends keyof Messages>(
  magics: readonly number[],
  name: Name,
  bytes: Uint8Array,
  path: string,
): Messages[Name] {
  return decodeOrBlame(name, unframeSingle(bytes, magics, path), path)
}

function decodeOrBlame<Name extends keyof Messages>(
  name: Name,
  message: Uint8Array,
  path: string,
): Messages[Name] {
  try {
    return decodeMessage(name, message)
  } catch (error) {
    throw badImage(path, `no valid ${name}`, error)
  }
}
