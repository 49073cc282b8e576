/**
 * A victim with an io_uring, for tests of what is found in /proc/PID/fd.
 *
 * Command `register PAGES` pins fresh memory as the ring's only buffer. Facts: `ring`, its descriptor.
 */
import { addressOf, systemCall } from '../victims/libc.js'
import { PAGE_SIZE } from '../victims/content.js'
import { mapPages } from '../victims/memory.js'
import { numberWord, serve } from '../victims/session.js'

const SYS_IO_URING_SETUP = 425
const SYS_IO_URING_REGISTER = 427
const REGISTER_BUFFERS = 0
/** Bytes of struct io_uring_params. source: include/uapi/linux/io_uring.h */
const PARAMS_BYTES = 120

const params = Buffer.alloc(PARAMS_BYTES)
const ring = systemCall('io_uring_setup', SYS_IO_URING_SETUP, 4, addressOf(params))

serve(
  { ring },
  {
    register: (words) => {
      const pages = numberWord(words, 0, 1)
      const address = mapPages(pages)
      const iovec = new BigUint64Array([BigInt(address), BigInt(pages * PAGE_SIZE)])
      const bytes = new Uint8Array(iovec.buffer)
      systemCall('io_uring_register', SYS_IO_URING_REGISTER, ring, REGISTER_BUFFERS, addressOf(bytes), 1)
      return { address, length: pages * PAGE_SIZE }
    },
  },
)
