/** The processes that are dumped: how large, how scattered, and how their victim is started. */

/** A kind of process. */
export interface Shape {
  readonly name: string
  readonly what: string
  readonly victim: 'plain' | 'sparse' | 'threads'
  readonly args: readonly string[]
  /** Pages that a dump stores, about. */
  readonly pages: number
  readonly vmas: number
  /** Measured unless `--all` is given; so the default stays short. */
  readonly targets: 'both' | 'tmpfs'
  /** By more than one number of workers, also without `--all`. */
  readonly scaling: boolean
  /**
   * Whether gcore can take part: it reads what was never touched too, which makes the kernel map zero pages there, so that the
   * next candidate has another process before it; and 20 TiB of it take too long.
   */
  readonly gcore: boolean
}

const GIB_PAGES = 2 ** 18

function plain(
  name: string,
  what: string,
  vmas: number,
  gib: number,
  rest: Partial<Shape> & { readonly extra?: readonly string[]; readonly filled?: number } = {},
): Shape {
  const pagesPerVma = Math.floor((gib * GIB_PAGES) / vmas)
  const { extra = [], filled = 1, targets = 'tmpfs', scaling = false, gcore = true } = rest
  const args = ['--vmas', String(vmas), '--pages-per-vma', String(pagesPerVma), '--gap', ...extra]
  return {
    name,
    what,
    victim: 'plain',
    args,
    pages: vmas * pagesPerVma * filled,
    vmas,
    targets,
    scaling,
    gcore,
  }
}

/** All shapes, in the order they are measured. */
export const SHAPES: readonly Shape[] = [
  plain('1g-100', '1 GiB in 100 VMAs, dense', 100, 1, { targets: 'both' }),
  plain('1g-10000', '1 GiB in 10,000 VMAs', 10_000, 1, { targets: 'both' }),
  plain('4g-1000', '4 GiB in 1,000 VMAs', 1000, 4, { targets: 'both', scaling: true }),
  plain('1g-1', '1 GiB in one VMA', 1, 1),
  plain('1g-60000', '1 GiB in 60,000 VMAs', 60_000, 1),
  plain('1g-thp', '1 GiB in huge pages', 8, 1, { extra: ['--thp'] }),
  plain('scattered', 'a random quarter of the pages of 1 GiB', 64, 1, {
    extra: ['--fill', 'scattered'],
    filled: 1 / 4,
    gcore: false,
  }),
  plain('every-other', 'every other page of 1 GiB', 64, 1, {
    extra: ['--fill', 'every-other'],
    filled: 1 / 2,
    gcore: false,
  }),
  plain('mostly-zero', '1 GiB, seven of eight pages full of written zeros', 64, 1, {
    extra: ['--fill', 'mostly-zero'],
  }),
  {
    name: '200-threads',
    what: '200 threads and little memory',
    victim: 'threads',
    args: ['--threads', '200'],
    pages: 2 ** 14,
    vmas: 500,
    targets: 'tmpfs',
    scaling: false,
    gcore: true,
  },
  {
    name: '20t-sparse',
    what: '1,000 pages in a reservation of 20 TiB',
    victim: 'sparse',
    args: ['--span', '20480', '--pages', '1000'],
    pages: 2 ** 14,
    vmas: 100,
    targets: 'tmpfs',
    scaling: false,
    gcore: false,
  },
]

/** The shape called `name`. Throws where there is none. */
export function shapeNamed(name: string): Shape {
  const shape = SHAPES.find((one) => one.name === name)
  if (shape === undefined)
    throw new Error(`no shape ${name}; there are ${SHAPES.map((one) => one.name).join(', ')}`)
  return shape
}

/** Bytes that a dump of `shape` stores, about. */
export function bytesOf({ pages }: Shape): number {
  return pages * 4096
}

/** Staging memory that holds all of `shape`, as `--max-memory` takes it. */
export function stagingFor(shape: Shape): string {
  return `${Math.ceil((bytesOf(shape) * 1.1) / 2 ** 20) + 64}M`
}
