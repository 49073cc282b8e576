/**
 * The frame around the messages of an image file.
 *
 *   | u32 magic | u32 magic | u32 length | message | u32 length | message | ...      little-endian
 *     one or two magics
 *
 * source: criu/protobuf.c do_pb_read_one, pb_write_one; criu/image.c open_image
 */
import { badImage } from './bad-image.js'

const U32_BYTES = 4

/** An image file: `magics`, then each message after its length. */
export function frameMessages(magics: readonly number[], messages: readonly Uint8Array[]): Uint8Array {
  const bodyBytes = messages.reduce((total, message) => total + U32_BYTES + message.length, 0)
  const file = Buffer.alloc(magics.length * U32_BYTES + bodyBytes)
  let offset = 0
  for (const magic of magics) offset = file.writeUInt32LE(magic, offset)
  for (const message of messages) {
    offset = file.writeUInt32LE(message.length, offset)
    file.set(message, offset)
    offset += message.length
  }
  return file
}

/**
 * Where each message of an image begins, in file order; {@link messageLength} tells its length.
 *
 * Throws `BAD_IMAGE` on a wrong magic, a truncated file, and a length that goes beyond the file's end.
 */
export function messageOffsets(bytes: Uint8Array, magics: readonly number[], path: string): number[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  checkMagics(view, magics, path)
  const offsets: number[] = []
  let offset = magics.length * U32_BYTES
  while (offset < view.byteLength) {
    const left = view.byteLength - offset - U32_BYTES
    if (left < 0) {
      throw badImage(path, `${left + U32_BYTES} trailing bytes at offset ${offset}: truncated in a length`)
    }
    const length = view.getUint32(offset, true)
    if (length > left) {
      const what = `the message at offset ${offset} says ${length} bytes, the file has ${left} more`
      throw badImage(path, `${what}: truncated, or not an image`)
    }
    offsets.push(offset + U32_BYTES)
    offset += U32_BYTES + length
  }
  return offsets
}

/** Length of the message that begins at `offset`, which {@link messageOffsets} gave. */
export function messageLength(bytes: Uint8Array, offset: number): number {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength).getUint32(offset - U32_BYTES, true)
}

/** The messages of an image, in file order, as views of `bytes`. Throws as {@link messageOffsets}. */
export function unframeMessages(bytes: Uint8Array, magics: readonly number[], path: string): Uint8Array[] {
  return messageOffsets(bytes, magics, path).map((offset) =>
    bytes.subarray(offset, offset + messageLength(bytes, offset)),
  )
}

/** The message of an image that has exactly one. Throws `BAD_IMAGE` on any other number, and as {@link messageOffsets}. */
export function unframeSingle(bytes: Uint8Array, magics: readonly number[], path: string): Uint8Array {
  const [message, ...more] = unframeMessages(bytes, magics, path)
  if (message === undefined) throw badImage(path, 'truncated: it holds no message')
  if (more.length > 0) throw badImage(path, `${more.length} trailing messages after the only one expected`)
  return message
}

function checkMagics(view: DataView, magics: readonly number[], path: string): void {
  magics.forEach((magic, index) => {
    const offset = index * U32_BYTES
    if (view.byteLength < offset + U32_BYTES) {
      throw badImage(path, `truncated: ${view.byteLength} bytes are too few for its magic`)
    }
    const found = view.getUint32(offset, true)
    if (found !== magic) {
      throw badImage(path, `bad magic ${hex(found)} at offset ${offset}, expected ${hex(magic)}`)
    }
  })
}

function hex(value: number): string {
  return `0x${value.toString(16).padStart(8, '0')}`
}
