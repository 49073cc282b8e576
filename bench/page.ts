/** The results as one page of HTML: charts, tables and style are all in it, and it runs no script. */
import { aimsRows, AIMS_HEAD, judgeAims } from './aims.js'
import { barChart, legend, type Bar } from './chart.js'
import type { Measured } from './figures.js'
import { escapeHtml, htmlTable } from './html-text.js'
import { PAGE_STYLE } from './page-style.js'
import { describe } from './machine.js'
import type { Results } from './results.js'
import { SHAPES } from './shapes.js'
import { formatNumber, formatRange, formatRatio, formatRuns, notesOf, peerOf, ratioTo } from './table.js'

const WALL_PARTS = ['start-up', 'prepare', 'frozen', 'write', 'publish'] as const

const CAPTURES = ['copy', 'fork'] as const

/** The page for `results`. */
export function resultsPage(results: Results): string {
  const { machine, measured, runs } = results
  const places = groupsOf(measured)
  return [
    '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Tidemark benchmark</title>',
    `<meta name="viewport" content="width=device-width"><style>${PAGE_STYLE}</style></head><body>`,
    '<h1>Tidemark benchmark</h1>',
    `<p>${escapeHtml(describe(machine))}</p>`,
    `<p>Medians of up to ${runs} runs each, candidates in turn, nothing synced; the thin line goes from the least to the greatest run. `,
    'Frozen is how long the process stood still, wall is from the command line to the exit.</p>',
    ...ratioSection(measured),
    ...aimsSection(measured),
    ...legends(measured),
    ...places.map(([place, lines]) => placeSection(place, lines, measured)),
    ...notesSection(measured),
    '</body></html>\n',
  ].join('\n')
}

/** Measurements by shape and file system, in the order they were taken. */
function groupsOf(measured: readonly Measured[]): [string, Measured[]][] {
  const groups = new Map<string, Measured[]>()
  for (const one of measured) {
    const place = `${one.shape} to ${one.target}`
    groups.set(place, [...(groups.get(place) ?? []), one])
  }
  return [...groups]
}

/** Frozen time as a part of CRIU's, for all shapes at a glance. */
function ratioSection(measured: readonly Measured[]): string[] {
  const bars = measured.flatMap((one) => {
    const ratio = ratioTo(one, peerOf(measured, one, 'criu'), 'frozen')
    if (ratio === undefined || !one.candidate.startsWith('tidemark')) return []
    const label = `${one.shape} ${one.target} ${one.candidate.replace('tidemark ', '')}`
    const parts = CAPTURES.filter((name) => one.candidate.includes(name)).map((name) => ({
      name,
      value: ratio,
    }))
    return [{ label, value: ratio, min: ratio, max: ratio, parts }]
  })
  if (bars.length === 0) return []
  return [
    "<h2>Frozen time, as a part of CRIU's</h2><p>1 is as long as CRIU's in the same run.</p>",
    legend(CAPTURES),
    barChart(bars, CAPTURES, formatRatio),
  ]
}

function aimsSection(measured: readonly Measured[]): string[] {
  const judged = judgeAims(measured).filter(({ value }) => value !== undefined)
  return judged.length === 0 ? [] : ['<h2>Aims</h2>', htmlTable(AIMS_HEAD, aimsRows(judged))]
}

function legends(measured: readonly Measured[]): string[] {
  return [
    '<h2>Every shape</h2>',
    `<div>Frozen: ${legend(frozenParts(measured))}</div><div>Wall: ${legend(WALL_PARTS)}</div>`,
  ]
}

function placeSection(place: string, lines: readonly Measured[], all: readonly Measured[]): string {
  const names = frozenParts(all)
  const what = SHAPES.find(({ name }) => name === lines[0]?.shape)?.what
  const frozen = lines.flatMap((one) =>
    barOf(
      one,
      'frozen',
      names.map((name) => [name, `frozen: ${name}`] as const),
    ),
  )
  const wall = lines.flatMap((one) =>
    barOf(
      one,
      'wall',
      WALL_PARTS.map(
        (name) => [name, name === 'start-up' || name === 'frozen' ? name : `wall: ${name}`] as const,
      ),
    ),
  )
  return [
    `<section><h3>${escapeHtml(place)}</h3>${what === undefined ? '' : `<p>${escapeHtml(what)}</p>`}`,
    `<div class="charts"><figure><figcaption>frozen, ms</figcaption>${barChart(frozen, names, formatNumber)}</figure>`,
    `<figure><figcaption>wall, ms</figcaption>${barChart(wall, WALL_PARTS, formatNumber)}</figure></div>`,
    `<details><summary>all figures</summary>${allFigures(lines)}</details></section>`,
  ].join('\n')
}

/** Names of the steps while the target stands that any candidate tells, in their order. */
function frozenParts(measured: readonly Measured[]): string[] {
  const keys = measured.flatMap(({ figures }) => Object.keys(figures))
  return [...new Set(keys.filter((key) => key.startsWith('frozen: ')))].map((key) => key.slice(8))
}

function barOf(one: Measured, figure: string, parts: readonly (readonly [string, string])[]): Bar[] {
  const spread = one.figures[figure]
  if (spread === undefined) return []
  const { median, min, max } = spread
  const present = parts.flatMap(([name, key]) => {
    const value = one.figures[key]?.median
    return value === undefined ? [] : [{ name, value }]
  })
  return [{ label: one.candidate, value: median, min, max, parts: present }]
}

function allFigures(lines: readonly Measured[]): string {
  const names = [...new Set(lines.flatMap(({ figures }) => Object.keys(figures)))]
  const rows = names.map((name) => [
    name,
    ...lines.map(({ figures }) => {
      const spread = figures[name]
      return spread === undefined ? '-' : `${formatNumber(spread.median)} (${formatRange(spread)})`
    }),
  ])
  return htmlTable(
    ['figure', ...lines.map(({ candidate }) => candidate)],
    [['runs', ...lines.map(formatRuns)], ...rows],
  )
}

function notesSection(measured: readonly Measured[]): string[] {
  const notes = notesOf(measured)
  if (notes.length === 0) return []
  return [`<h2>Notes</h2><ul>${notes.map((note) => `<li>${escapeHtml(note)}</li>`).join('')}</ul>`]
}
