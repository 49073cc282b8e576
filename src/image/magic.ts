/**
 * The numbers with which CRIU's image files begin: little-endian u32, one or two a file.
 *
 * source: criu/include/magic.h (values), criu/image.c open_image (which files have two)
 */

/** First in most images since version 1.1. */
const COMMON_MAGIC = 0x54564319
/** First in service files such as stats-dump. */
const SERVICE_MAGIC = 0x55105940

/** pagemap-ID.img */
export const PAGEMAP_MAGICS = [COMMON_MAGIC, 0x56084025] as const
/** mm-PID.img */
export const MM_MAGICS = [COMMON_MAGIC, 0x57492820] as const
/** pstree.img */
export const PSTREE_MAGICS = [COMMON_MAGIC, 0x50273030] as const
/** files.img */
export const FILES_MAGICS = [COMMON_MAGIC, 0x56303138] as const
/** inventory.img: the only image without the common magic, since it says whether the others have it. */
export const INVENTORY_MAGICS = [0x58313116] as const
/** stats-dump */
export const STATS_MAGICS = [SERVICE_MAGIC, 0x57093306] as const
