/** Tables as the benchmarks print them. */

/** The lines of a Markdown table. */
export function markdownTable(head: readonly string[], rows: readonly (readonly string[])[]): string {
  return [head, head.map(() => '---'), ...rows].map((cells) => `| ${cells.join(' | ')} |`).join('\n')
}

/** `value` with the digits that its size deserves; a dash where there is none. */
export function figure(value: number | undefined): string {
  if (value === undefined || Number.isNaN(value)) return '-'
  if (value === 0) return '0'
  return value < 10 ? value.toFixed(2) : value < 100 ? value.toFixed(1) : value.toFixed(0)
}

/** Microseconds as a figure in milliseconds. */
export function milliseconds(micros: number): string {
  return figure(micros / 1000)
}
