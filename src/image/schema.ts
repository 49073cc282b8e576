/**
 * Protobuf by reflection on proto/: the only file that knows protobufjs.
 *
 * The schema is parsed at first use, once. 64-bit integers are bigint on both sides, so that every address
 * is exact. Pagemaps, which may have half a million entries, have their own way around objects and bigints.
 */
import { fileURLToPath } from 'node:url'
import protobuf from 'protobufjs'

import type { Messages, PagemapEntryFields, RawPagemapEntry } from './messages.js'

/** The folder of the .proto files, from dist/src/image. */
const PROTO_FOLDER = new URL('../../../proto/', import.meta.url)
const PROTO_FILES = ['pagemap', 'mm', 'files', 'pstree', 'inventory', 'stats']

let loaded: protobuf.Root | undefined

function messageType(name: string): protobuf.Type {
  loaded ??= new protobuf.Root().loadSync(
    PROTO_FILES.map((file) => fileURLToPath(new URL(`${file}.proto`, PROTO_FOLDER))),
  )
  return loaded.lookupType(name)
}

/** The bytes of a message of type `name`, without a frame. */
export function encodeMessage<Name extends keyof Messages>(name: Name, message: Messages[Name]): Uint8Array {
  const type = messageType(name)
  return type.encode(type.fromObject(message)).finish()
}

/**
 * The message of type `name` that `bytes` holds. Unknown fields are skipped.
 *
 * Throws protobufjs's own error if a required field is missing or the bytes are no message.
 */
export function decodeMessage<Name extends keyof Messages>(name: Name, bytes: Uint8Array): Messages[Name] {
  const type = messageType(name)
  const object = type.toObject(type.decode(bytes), { longs: BigInt, enums: String, arrays: true })
  // Reflection has no static types: messages.ts says what proto/ says, and a test holds the two together.
  return object as Messages[Name]
}

/** Writes framed pagemap entries into one buffer. */
export interface PagemapEntryWriter {
  /** Appends `entry` after its u32 length. The object may be reused. */
  append(entry: PagemapEntryFields): void
  /** Everything written, `prefix` first. The writer is not used after it. */
  finish(): Uint8Array
}

/**
 * A writer whose buffer begins with `prefix`.
 *
 * @param byteHint - expected size in bytes; the buffer grows beyond it by doubling
 */
export function openPagemapWriter(prefix: Uint8Array, byteHint: number): PagemapEntryWriter {
  const type = messageType('pagemap_entry')
  const writer = protobuf.Writer.create()
  writer.buf = protobuf.Writer.alloc(Math.max(byteHint, prefix.length))
  writer.raw(prefix)
  type.setup()
  return {
    append(entry) {
      const lengthAt = writer.pos
      writer.fixed32(0)
      type.encode(entry, writer)
      // An entry is at most 36 bytes, so its length has one byte that is not zero.
      writer.buf[lengthAt] = writer.pos - lengthAt - 4
    },
    finish: () => writer.buf.subarray(0, writer.pos),
  }
}

/** A function that decodes the pagemap entry at [`start`, `start + length`) of `bytes`; throws as {@link decodeMessage}. */
export function pagemapEntryReader(bytes: Uint8Array): (start: number, length: number) => RawPagemapEntry {
  const type = messageType('pagemap_entry')
  const reader = protobuf.Reader.create(bytes)
  return (start, length) => {
    reader.pos = start
    // A reader that failed once would keep the failed message's end.
    reader.len = bytes.length
    // As above; absent fields would read as zeros of the prototype, so they are looked for.
    const entry = type.decode(reader, length) as unknown as Required<RawPagemapEntry>
    return {
      vaddr: entry.vaddr,
      compatNrPages: entry.compatNrPages,
      inParent: Object.hasOwn(entry, 'inParent') ? entry.inParent : undefined,
      flags: Object.hasOwn(entry, 'flags') ? entry.flags : undefined,
      nrPages: Object.hasOwn(entry, 'nrPages') ? entry.nrPages : undefined,
    }
  }
}
