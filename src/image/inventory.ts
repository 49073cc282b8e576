/**
 * inventory.img: by it CRIU takes a snapshot as a parent. It compares `dumpUptime` with the start time of
 * the process that now has the PID. source: criu/image.c get_parent_inventory, criu/mem.c detect_pid_reuse
 */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { codeOf, isTidemarkError } from '../errors.js'
import { badImage } from './bad-image.js'
import { INVENTORY_MAGICS } from './magic.js'
import type { InventoryEntry } from './messages.js'
import { decodeSingleImage, encodeImage } from './typed-image.js'

/** "Images have the common magic". source: criu/include/magic.h CRTOOLS_IMAGES_V1_1 */
const IMAGES_VERSION = 2

/** How a pre-dump read the pages. source: criu/include/cr_options.h PRE_DUMP_SPLICE, PRE_DUMP_READ */
export const PRE_DUMP_MODE = { SPLICE: 1, READ: 2 } as const

/** What an inventory says. */
export interface Inventory {
  /** Microseconds since boot, when the dump was taken. */
  readonly dumpUptimeUs: bigint
  /** One of {@link PRE_DUMP_MODE}; left out for a dump of a frozen process. */
  readonly preDumpMode?: number
}

/** inventory.img. */
export function encodeInventory(inventory: Inventory): Uint8Array {
  const { preDumpMode } = inventory
  const message: InventoryEntry = {
    imgVersion: IMAGES_VERSION,
    dumpUptime: inventory.dumpUptimeUs,
    ...(preDumpMode === undefined ? {} : { preDumpMode }),
  }
  return encodeImage(INVENTORY_MAGICS, 'inventory_entry', [message])
}

/** The message of an inventory image. Throws `BAD_IMAGE`. */
export function decodeInventory(bytes: Uint8Array, path: string): InventoryEntry {
  return decodeSingleImage(INVENTORY_MAGICS, 'inventory_entry', bytes, path)
}

/** The inventory in the images directory `folder`. Throws `BAD_IMAGE`. */
export function readInventory(folder: string): InventoryEntry {
  const path = join(folder, 'inventory.img')
  try {
    return decodeInventory(readFileSync(path), path)
  } catch (error) {
    if (isTidemarkError(error)) throw error
    throw badImage(path, `can't be read: ${codeOf(error) ?? 'unknown'}`, error)
  }
}
