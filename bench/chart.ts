/** Horizontal bars as SVG: a label, a bar of one or more parts, a line from the least to the greatest value, the median. */
import { escapeHtml } from './html-text.js'

/** A part of a bar, from left to right. */
export interface BarPart {
  readonly name: string
  readonly value: number
}

/** One bar. */
export interface Bar {
  readonly label: string
  readonly value: number
  readonly min: number
  readonly max: number
  /** What `value` is made of; what they lack of it is drawn as a part without a name. */
  readonly parts: readonly BarPart[]
}

const WIDTH = 560
const LABEL_WIDTH = 170
const VALUE_WIDTH = 70
const ROW_HEIGHT = 24
const BAR_HEIGHT = 14

/** A chart of `bars` on one scale that begins at 0; `format` makes the text behind each. `partNames` fixes the colours. */
export function barChart(
  bars: readonly Bar[],
  partNames: readonly string[],
  format: (value: number) => string,
): string {
  const longest = Math.max(...bars.map(({ value, max }) => Math.max(value, max)), Number.MIN_VALUE)
  const scale = (WIDTH - LABEL_WIDTH - VALUE_WIDTH) / longest
  const height = bars.length * ROW_HEIGHT + 4
  const rows = bars.map((bar, row) => barRow(bar, row * ROW_HEIGHT + 2, scale, partNames, format))
  return `<svg viewBox="0 0 ${WIDTH} ${height}" width="${WIDTH}" height="${height}" role="img">${rows.join('')}</svg>`
}

/** Which colour stands for which part. */
export function legend(partNames: readonly string[]): string {
  const items = partNames.map(
    (name) =>
      `<span><svg width="10" height="10"><rect width="10" height="10" class="${partClass(name, partNames)}"/></svg> ${escapeHtml(name)}</span>`,
  )
  return `<p class="legend">${items.join(' ')}</p>`
}

function barRow(
  bar: Bar,
  top: number,
  scale: number,
  partNames: readonly string[],
  format: (value: number) => string,
): string {
  const middle = top + ROW_HEIGHT / 2
  const barTop = middle - BAR_HEIGHT / 2
  const end = LABEL_WIDTH + Math.max(bar.value, bar.max) * scale
  const from = round(LABEL_WIDTH + bar.min * scale)
  const to = round(LABEL_WIDTH + bar.max * scale)
  const range = `${format(bar.min)} to ${format(bar.max)}`
  return [
    `<g><title>${escapeHtml(`${bar.label}: ${format(bar.value)}, ${range}`)}</title>`,
    `<text x="${LABEL_WIDTH - 8}" y="${middle}" class="label">${escapeHtml(bar.label)}</text>`,
    ...barParts(bar, barTop, scale, partNames),
    `<path d="M${from} ${middle}H${to}M${from} ${middle - 4}v8M${to} ${middle - 4}v8" class="range"/>`,
    `<text x="${round(end + 6)}" y="${middle}" class="value">${escapeHtml(format(bar.value))}</text></g>`,
  ].join('')
}

function barParts(bar: Bar, top: number, scale: number, partNames: readonly string[]): string[] {
  const named = bar.parts.reduce((sum, { value }) => sum + value, 0)
  // Medians of parts may add up to more than the median of the whole.
  const shrink = named > bar.value ? bar.value / named : 1
  const rest = { name: '', value: Math.max(0, bar.value - named) }
  let left = LABEL_WIDTH
  return [...bar.parts.map(({ name, value }) => ({ name, value: value * shrink })), rest].map((part) => {
    const width = part.value * scale
    const drawn = `<rect x="${round(left)}" y="${top}" width="${round(width)}" height="${BAR_HEIGHT}" class="${partClass(part.name, partNames)}"/>`
    left += width
    return drawn
  })
}

function partClass(name: string, partNames: readonly string[]): string {
  const index = partNames.indexOf(name)
  return index === -1 ? 'rest' : `part${index % 10}`
}

function round(value: number): string {
  return value.toFixed(1)
}
