/** The style sheet of the page of results, for light and dark screens. */
export const PAGE_STYLE = `
:root { color-scheme: light dark; --text: #1c2126; --back: #fff; --line: #d5dae0; --faint: #66707a; }
@media (prefers-color-scheme: dark) { :root { --text: #e4e8ec; --back: #15191d; --line: #3a424a; --faint: #99a3ad; } }
body { font: 15px/1.45 system-ui, sans-serif; color: var(--text); background: var(--back); max-width: 1180px;
  margin: 2rem auto; padding: 0 1rem; }
h1, h2, h3 { line-height: 1.2; margin: 1.6em 0 .4em; }
p { margin: .3em 0; }
section { border-top: 1px solid var(--line); }
.charts { display: flex; flex-wrap: wrap; gap: 1rem; }
figure { margin: 0; }
figcaption { color: var(--faint); }
svg { max-width: 100%; height: auto; vertical-align: middle; }
svg text { font: 12px system-ui, sans-serif; fill: var(--text); dominant-baseline: central; }
svg .label { text-anchor: end; }
.range { stroke: var(--text); fill: none; }
.rest { fill: #8d99a5; }
.part0 { fill: #4e79a7; } .part1 { fill: #f28e2b; } .part2 { fill: #76b7b2; } .part3 { fill: #e15759; }
.part4 { fill: #59a14f; } .part5 { fill: #edc948; } .part6 { fill: #b07aa1; } .part7 { fill: #ff9da7; }
.part8 { fill: #9c755f; } .part9 { fill: #2f6f8f; }
.legend { display: inline; } .legend span { margin-right: .9em; white-space: nowrap; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; display: block; overflow-x: auto; }
td, th { border-bottom: 1px solid var(--line); padding: .2em .7em; text-align: left; white-space: nowrap; }
details { margin: .5em 0 1em; } summary { cursor: pointer; color: var(--faint); }
`
