import { readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { renderPlot } from './engine/plot.ts'
import type { Report } from './engine/report.ts'
import { withResults } from './engine/results-page.ts'

/**
 * `npm run bench:plot`: writes plot and table of docs/performance.md from docs/performance/engine.json, which is what
 * `npm run bench:engine -- --json` printed.
 */

const at = (path: string) => fileURLToPath(new URL(`../docs/${path}`, import.meta.url))
const report = JSON.parse(readFileSync(at('performance/engine.json'), 'utf8')) as Report
writeFileSync(at('performance/engine.svg'), renderPlot(report))
writeFileSync(at('performance.md'), withResults(readFileSync(at('performance.md'), 'utf8'), report))
process.stdout.write('docs/performance/engine.svg\ndocs/performance.md\n')
