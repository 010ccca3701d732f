import { SCENARIO_NAMES, type ScenarioName } from './scenarios.ts'
import type { SimRun } from './simulate.ts'

/** A bar chart of the runs as SVG text. */

const WIDTH = 760
const HEIGHT = 300
const TOP = 60
const LABEL_SPACE = 28
/** Gap between the groups of bars, in bars. */
const GAP_BARS = 1.2
const FONT = 'font-family="system-ui, sans-serif" fill="#1f2933"'

const COLOURS: Record<ScenarioName, string> = {
  flash: '#0b7285',
  trickle: '#e8590c',
  slow: '#868e96',
  deaths: '#f4a261',
}

/** Time over the limit, a group of bars per number of nodes; the line is the limit itself. */
export function renderPlot(runs: SimRun[]): string {
  const counts = [...new Set(runs.map(({ nodes }) => nodes))]
  const barWidth = WIDTH / (counts.length * (SCENARIO_NAMES.length + GAP_BARS))
  const scale = (HEIGHT - TOP - LABEL_SPACE) / Math.max(1, ...runs.map((run) => run.makespanOverLimit))
  const bars = runs.map((run) => {
    const group = counts.indexOf(run.nodes) * (SCENARIO_NAMES.length + GAP_BARS) + GAP_BARS / 2
    const x = (group + SCENARIO_NAMES.indexOf(run.scenario)) * barWidth
    return renderBar(run, { x, width: barWidth * 0.86, height: run.makespanOverLimit * scale })
  })
  const labels = counts.map((count, at) => {
    const x = (at + 0.5) * (SCENARIO_NAMES.length + GAP_BARS) * barWidth
    return centred(x, HEIGHT - 8, `${count.toLocaleString('en')} nodes`)
  })
  const limitY = (HEIGHT - LABEL_SPACE - scale).toFixed(1)
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img">`,
    '<title>Simulated time over the physical limit</title>',
    `<rect width="${WIDTH}" height="${HEIGHT}" fill="#ffffff"/>`,
    `<text x="10" y="20" font-size="15" font-weight="600" ${FONT}>Time over the physical limit (line: 1)</text>`,
    ...SCENARIO_NAMES.map(renderLegend),
    ...bars,
    ...labels,
    `<path d="M0 ${limitY}H${WIDTH}" stroke="#1f2933" stroke-dasharray="4 3"/>`,
    '</svg>\n',
  ].join('\n')
}

function renderLegend(scenario: ScenarioName, index: number): string {
  const left = 10 + index * 110
  const square = `<rect x="${left}" y="30" width="12" height="12" fill="${COLOURS[scenario]}"/>`
  return `${square}<text x="${left + 18}" y="40.5" font-size="13" ${FONT}>${scenario}</text>`
}

function renderBar(run: SimRun, bar: { x: number; width: number; height: number }): string {
  const top = HEIGHT - LABEL_SPACE - bar.height
  const box = { x: bar.x, y: top, width: bar.width, height: bar.height }
  const attributes = Object.entries(box).map(([name, value]) => `${name}="${value.toFixed(1)}"`)
  const rectangle = `<rect ${attributes.join(' ')} fill="${COLOURS[run.scenario]}"/>`
  return `${rectangle}${centred(bar.x + bar.width / 2, top - 5, run.makespanOverLimit.toFixed(2))}`
}

function centred(x: number, y: number, text: string): string {
  return `<text x="${x.toFixed(1)}" y="${y.toFixed(1)}" font-size="12" text-anchor="middle" ${FONT}>${text}</text>`
}
