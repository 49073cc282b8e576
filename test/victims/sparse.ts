/**
 * Victim: few pages at pseudo-random places of one huge reservation.
 *
 *   --span GIB      size of the mapping in GiB (64); 20480 is 20 TiB
 *   --pages K       pages that are filled (1000)
 *   --seed S        seed of content and places (1)
 *
 * Commands: `write N [seed]` rewrites the first N of the pages. Facts: `pages`, the filled page numbers, ascending.
 */
import { parseArgs } from 'node:util'
import { PAGE_SIZE, randomWords } from './content.js'
import { ADVICE, fill, hex, MAP, mapPages, tryAdvise } from './memory.js'
import { numberWord, serve } from './session.js'

const { values } = parseArgs({
  options: {
    span: { type: 'string', default: '64' },
    pages: { type: 'string', default: '1000' },
    seed: { type: 'string', default: '1' },
  },
})
const seed = Number(values.seed)
const spanPages = (Number(values.span) * 2 ** 30) / PAGE_SIZE
const wanted = Math.min(Number(values.pages), spanPages)

const start = mapPages(spanPages, { flags: MAP.PRIVATE + MAP.ANONYMOUS + MAP.NORESERVE })
tryAdvise(start, spanPages, ADVICE.NOHUGEPAGE)

function places(): number[] {
  const next = randomWords(seed)
  const found = new Set<number>()
  while (found.size < wanted) {
    const fraction = (next() * 2 ** 20 + (next() % 2 ** 20)) / 2 ** 52
    found.add(start / PAGE_SIZE + Math.floor(fraction * spanPages))
  }
  return [...found].sort((a, b) => a - b)
}

const pages = places()
for (const page of pages) fill(page * PAGE_SIZE, 1, seed)

serve(
  { start: hex(start), spanPages, pages, seed },
  {
    write: (words) => {
      const count = Math.min(numberWord(words, 0, 1), pages.length)
      for (const page of pages.slice(0, count)) fill(page * PAGE_SIZE, 1, numberWord(words, 1, seed + 1))
      return { pages: count }
    },
  },
)
