import { BarGroups, CHART_WIDTH, heading, legend, svgPage } from '../measure/bar-chart.ts'
import { SCENARIO_NAMES, type ScenarioName } from './scenarios.ts'
import type { SimRun } from './simulate.ts'

/** The bar chart of the runs. */

const HEIGHT = 300
const TOP = 60
const LABEL_SPACE = 28

const COLOURS: Record<ScenarioName, string> = {
  flash: '#0b7285',
  trickle: '#e8590c',
  slow: '#868e96',
  deaths: '#f4a261',
  pause: '#5c940d',
  'long-pause': '#862e9c',
  'tracker-loss': '#c92a2a',
}

/** Time over the limit, a group of bars per number of nodes; the line is the limit itself. */
export function renderPlot(runs: SimRun[]): string {
  const counts = [...new Set(runs.map(({ nodes }) => nodes))]
  const places = new BarGroups(counts.length, SCENARIO_NAMES.length)
  const scale = (HEIGHT - TOP - LABEL_SPACE) / Math.max(1, ...runs.map((run) => run.makespanOverLimit))
  const bars = runs.map(({ nodes, scenario, makespanOverLimit }) => {
    const look = {
      bottom: HEIGHT - LABEL_SPACE,
      height: makespanOverLimit * scale,
      colour: COLOURS[scenario],
      label: makespanOverLimit.toFixed(2),
    }
    return places.bar({ group: counts.indexOf(nodes), index: SCENARIO_NAMES.indexOf(scenario) }, look)
  })
  const labels = counts.map((count, group) =>
    places.groupLabel(group, HEIGHT - 8, `${count.toLocaleString('en')} nodes`, 12),
  )
  const limitY = (HEIGHT - LABEL_SPACE - scale).toFixed(1)
  return svgPage({
    title: 'Simulated time over the physical limit',
    height: HEIGHT,
    parts: [
      heading('Time over the physical limit (line: 1)'),
      ...legend(SCENARIO_NAMES, COLOURS, { top: 30, step: 110 }),
      ...bars,
      ...labels,
      `<path d="M0 ${limitY}H${CHART_WIDTH}" stroke="#1f2933" stroke-dasharray="4 3"/>`,
    ],
  })
}
