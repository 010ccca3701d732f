import { BarGroups, CHART_WIDTH, heading, legend, svgPage } from '../measure/bar-chart.ts'
import { type Report, type Run, SYSTEM_NAMES, type SystemName } from './report.ts'

/** The bar charts of a report. */

const PANEL_HEIGHT = 240
const TITLE_HEIGHT = 30
const LEGEND_HEIGHT = 30
const LABEL_SPACE = 24

const COLOURS: Record<SystemName, string> = {
  shoal: '#0b7285',
  'shoal-encrypted': '#5c7cfa',
  pump: '#2b8a3e',
  'libtorrent-ssl': '#e8590c',
  'libtorrent-plain': '#f4a261',
  webtorrent: '#868e96',
  aria2: '#adb5bd',
}

interface Panel {
  title: string
  digits: number
  value: (run: Run) => number
}

const PANELS: Panel[] = [
  { title: 'MiB/s delivered, all downloaders together', digits: 0, value: (run) => run.mibPerSecond },
  { title: 'CPU seconds per GiB delivered, all processes', digits: 2, value: (run) => run.cpuSecondsPerGib },
]

/** One panel per measure; in each, a group of bars per number of downloaders. Warm transfers of the first size only. */
export function renderPlot(report: Report): string {
  const runs = report.runs.filter(
    ({ state, blobMib }) => state === 'warm' && blobMib === report.runs[0]?.blobMib,
  )
  const systems = SYSTEM_NAMES.filter((name) => runs.some(({ system }) => system === name))
  const panels = PANELS.map((panel, index) => {
    const top = LEGEND_HEIGHT + index * PANEL_HEIGHT
    return `<g transform="translate(0 ${top})">\n${renderPanel(panel, runs, systems)}\n</g>`
  })
  return svgPage({
    title: 'Throughput and CPU time of Shoal and others, warm',
    height: LEGEND_HEIGHT + PANELS.length * PANEL_HEIGHT,
    parts: [...legend(systems, COLOURS, { top: 10, step: (CHART_WIDTH - 20) / systems.length }), ...panels],
  })
}

function renderPanel({ title, digits, value }: Panel, runs: Run[], systems: SystemName[]): string {
  const counts = [...new Set(runs.map(({ downloaders }) => downloaders))]
  const scale = (PANEL_HEIGHT - TITLE_HEIGHT - 2 * LABEL_SPACE) / Math.max(...runs.map(value))
  const places = new BarGroups(counts.length, systems.length)
  const groups = counts.map((count, group) => {
    const bars = runs
      .filter(({ downloaders }) => downloaders === count)
      .map((run) => {
        const [bottom, height] = [PANEL_HEIGHT - LABEL_SPACE, value(run) * scale]
        const look = { bottom, height, colour: COLOURS[run.system], label: value(run).toFixed(digits) }
        return places.bar({ group, index: systems.indexOf(run.system) }, look)
      })
    const label = `${count} downloader${count === 1 ? '' : 's'}`
    return [...bars, places.groupLabel(group, PANEL_HEIGHT - 8, label, 13)].join('\n')
  })
  return [heading(title), ...groups].join('\n')
}
