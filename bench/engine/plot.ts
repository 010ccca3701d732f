import { type Report, type Run, SYSTEM_NAMES, type SystemName } from './report.ts'

/** Bar charts of a report as SVG text, readable on light and dark pages alike. */

const WIDTH = 760
const PANEL_HEIGHT = 240
const TITLE_HEIGHT = 30
const LEGEND_HEIGHT = 30
/** Gap between the groups of bars, as a share of one bar's width. */
const GAP_SHARE = 1.2
const LABEL_SPACE = 24
const FONT = 'font-family="system-ui, sans-serif" fill="#1f2933"'

const COLOURS: Record<SystemName, string> = {
  shoal: '#0b7285',
  'shoal-encrypted': '#5c7cfa',
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

/** One panel per measure; in each, a group of bars per number of downloaders. */
export function renderPlot({ runs }: Report): string {
  const systems = SYSTEM_NAMES.filter((name) => runs.some(({ system }) => system === name))
  const height = LEGEND_HEIGHT + PANELS.length * PANEL_HEIGHT
  const panels = PANELS.map((panel, index) => {
    const top = LEGEND_HEIGHT + index * PANEL_HEIGHT
    return `<g transform="translate(0 ${top})">\n${renderPanel(panel, runs, systems)}\n</g>`
  })
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" role="img">`,
    '<title>Throughput and CPU time of Shoal and others</title>',
    `<rect width="${WIDTH}" height="${height}" fill="#ffffff"/>`,
    ...systems.map(renderLegend),
    ...panels,
    '</svg>\n',
  ].join('\n')
}

function renderLegend(system: SystemName, index: number): string {
  const left = 10 + index * 145
  const square = `<rect x="${left}" y="10" width="12" height="12" fill="${COLOURS[system]}"/>`
  return `${square}<text x="${left + 18}" y="20.5" font-size="13" ${FONT}>${system}</text>`
}

function renderPanel({ title, digits, value }: Panel, runs: Run[], systems: SystemName[]): string {
  const counts = [...new Set(runs.map(({ downloaders }) => downloaders))]
  const barWidth = WIDTH / (counts.length * (systems.length + GAP_SHARE))
  const scale = (PANEL_HEIGHT - TITLE_HEIGHT - 2 * LABEL_SPACE) / Math.max(...runs.map(value))
  const groups = counts.map((count, group) => {
    const left = (group * (systems.length + GAP_SHARE) + GAP_SHARE / 2) * barWidth
    const bars = runs
      .filter(({ downloaders }) => downloaders === count)
      .map((run) => {
        const x = left + systems.indexOf(run.system) * barWidth
        const bar = { x, width: barWidth * 0.86, height: value(run) * scale, colour: COLOURS[run.system] }
        return renderBar(bar, value(run).toFixed(digits))
      })
    const middle = left + (systems.length * barWidth) / 2
    const label = `${count} downloader${count === 1 ? '' : 's'}`
    return [...bars, centred(middle, PANEL_HEIGHT - 8, 13, label)].join('\n')
  })
  return [`<text x="10" y="20" font-size="15" font-weight="600" ${FONT}>${title}</text>`, ...groups].join(
    '\n',
  )
}

function renderBar(bar: { x: number; width: number; height: number; colour: string }, label: string): string {
  const top = PANEL_HEIGHT - LABEL_SPACE - bar.height
  const box = [bar.x, top, bar.width, bar.height].map((value) => value.toFixed(1))
  const attributes = ['x', 'y', 'width', 'height'].map((name, index) => `${name}="${box[index]}"`).join(' ')
  const rectangle = `<rect ${attributes} fill="${bar.colour}"/>`
  return `${rectangle}${centred(bar.x + bar.width / 2, top - 5, 12, label)}`
}

function centred(x: number, y: number, fontSize: number, text: string): string {
  const place = `x="${x.toFixed(1)}" y="${y.toFixed(1)}"`
  return `<text ${place} font-size="${fontSize}" text-anchor="middle" ${FONT}>${text}</text>`
}
