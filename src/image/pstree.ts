/** pstree.img: the dumped process and its threads. source: criu/pstree.c dump_pstree */
import { PSTREE_MAGICS } from './magic.js'
import type { PstreeEntry } from './messages.js'
import { decodeImage, encodeImage } from './typed-image.js'

/** pstree.img of `processes`, the root first; ids as the processes see them, the root's ppid is 0. */
export function encodePstree(processes: readonly PstreeEntry[]): Uint8Array {
  return encodeImage(PSTREE_MAGICS, 'pstree_entry', processes)
}

/** The processes of a pstree image, the root first. Throws `BAD_IMAGE`. */
export function decodePstree(bytes: Uint8Array, path: string): PstreeEntry[] {
  return decodeImage(PSTREE_MAGICS, 'pstree_entry', bytes, path)
}
