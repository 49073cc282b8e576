/**
 * Victim: memory that a userfaultfd of its own write-protects, mostly never touched, and which nobody serves.
 *
 *   --pages P     pages of private anonymous memory (4096), of which every third of the first 300 is filled
 *   --missing     faults at missing pages are for the userfaultfd too: whoever reads one waits for ever
 *
 *   |filled|marker|marker|filled|marker|marker| ... |marker|marker|marker|
 *
 * Facts: `start`, `pages`, `filled` (how many), `seed`. As an ordinary user the kernel's own reads of missing pages fail.
 */
import { parseArgs } from 'node:util'
import { PAGE_SIZE } from './content.js'
import { addressOf, systemCall } from './libc.js'
import { ADVICE, advisePages, fill, hex, mapPages } from './memory.js'
import { serve } from './session.js'

const SYS_IOCTL = 16
const SYS_USERFAULTFD = 323
const USER_MODE_ONLY = 1
/** source: include/uapi/linux/userfaultfd.h */
const UFFDIO = { API: 0xc018aa3f, REGISTER: 0xc020aa00, WRITEPROTECT: 0xc018aa06 } as const
const API = 0xaan
const FEATURES = { PAGEFAULT_FLAG_WP: 1n, WP_UNPOPULATED: 1n << 13n } as const
const MODE = { MISSING: 1n, WP: 2n } as const

const SEED = 5
const FILLED = 100
const STRIDE = 3

const { values } = parseArgs({
  options: { pages: { type: 'string', default: '4096' }, missing: { type: 'boolean', default: false } },
})
const pages = Number(values.pages)
const start = mapPages(pages)
advisePages(start, pages, ADVICE.NOHUGEPAGE)
for (let index = 0; index < FILLED; index += 1) fill(start + index * STRIDE * PAGE_SIZE, 1, SEED)

const userMode = process.getuid?.() === 0 ? 0 : USER_MODE_ONLY
const fd = systemCall('userfaultfd', SYS_USERFAULTFD, userMode)

function ask(request: keyof typeof UFFDIO, ...words: bigint[]): void {
  const argument = Buffer.alloc(8 * words.length)
  words.forEach((word, index) => argument.writeBigUInt64LE(word, 8 * index))
  systemCall(`UFFDIO_${request}`, SYS_IOCTL, fd, UFFDIO[request], addressOf(argument))
}

const from = BigInt(start)
const length = BigInt(pages * PAGE_SIZE)
ask('API', API, FEATURES.PAGEFAULT_FLAG_WP + FEATURES.WP_UNPOPULATED, 0n)
ask('REGISTER', from, length, MODE.WP + (values.missing ? MODE.MISSING : 0n), 0n)
ask('WRITEPROTECT', from, length, 1n)

serve({ start: hex(start), pages, filled: FILLED, stride: STRIDE, seed: SEED }, {})
