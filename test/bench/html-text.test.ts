import { describe, expect, test } from '@jest/globals'
import { barChart } from '../../bench/chart.js'
import { escapeHtml, htmlTable } from '../../bench/html-text.js'
import { resultsPage } from '../../bench/page.js'
import { resultsOf } from '../../bench/results.js'
import { measured, spread } from './measured.js'

const MACHINE = {
  cpu: 'a <fast> one',
  cores: 2,
  memoryBytes: 2 ** 34,
  kernel: '6.18',
  node: 'v20',
  thp: 'madvise',
  date: '2026',
}

describe('HTML', () => {
  test('markup in text is escaped, an ampersand once', () => {
    expect(escapeHtml(`<a href="x">'&amp;'</a>`)).toBe(
      '&lt;a href=&quot;x&quot;&gt;&#39;&amp;amp;&#39;&lt;/a&gt;',
    )
  })

  test('cells of a table are text', () => {
    expect(htmlTable(['<'], [['&']])).toBe(
      '<table><thead><tr><th>&lt;</th></tr></thead><tbody><tr><td>&amp;</td></tr></tbody></table>',
    )
  })

  test('the longest bar fills the chart and half of it is half as long', () => {
    const bar = (label: string, value: number) => ({ label, value, min: value, max: value, parts: [] })
    const widths = [
      ...barChart([bar('a', 10), bar('b', 5)], [], String).matchAll(/<rect [^>]*width="([\d.]+)"/g),
    ]
    expect(widths.map(([, width]) => width)).toEqual(['320.0', '160.0'])
  })

  test('parts of a bar follow each other, and what they lack of it comes last', () => {
    const parts = [
      { name: 'scan', value: 2 },
      { name: 'capture', value: 6 },
    ]
    const chart = barChart([{ label: 'a', value: 10, min: 10, max: 10, parts }], ['scan', 'capture'], String)
    const drawn = [
      ...chart.matchAll(/<rect x="([\d.]+)" y="\d+" width="([\d.]+)" height="14" class="(\w+)"/g),
    ]
    expect(drawn.map(([, x, width, name]) => [x, width, name])).toEqual([
      ['170.0', '64.0', 'part0'],
      ['234.0', '192.0', 'part1'],
      ['426.0', '64.0', 'rest'],
    ])
  })

  test('medians of parts that add up to more than the whole do not make it longer', () => {
    const parts = [{ name: 'scan', value: 20 }]
    const chart = barChart([{ label: 'a', value: 10, min: 10, max: 10, parts }], ['scan'], String)
    expect(chart).toContain('width="320.0" height="14" class="part0"')
  })

  test('the page needs nothing from elsewhere, runs no script, and escapes what it shows', () => {
    const lines = [
      measured({ frozen: spread(50), wall: spread(500), 'frozen: scan': spread(3) }, { notes: ['<b>'] }),
      measured({ frozen: spread(100), wall: spread(400) }, { candidate: 'criu' }),
    ]
    const page = resultsPage(resultsOf(MACHINE, 5, lines))
    expect(page).not.toMatch(/<script|https?:|<link|url\(|<b>|<fast>/)
    expect(page).toContain('a &lt;fast&gt; one')
    expect(page).toContain('&lt;b&gt;')
    expect(page).toContain('<svg')
  })

  test('a page of no results is a page', () => {
    expect(resultsPage(resultsOf(MACHINE, 5, []))).toContain('</html>')
  })
})
