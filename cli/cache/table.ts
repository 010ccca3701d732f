/** Tables for people. */

/** No wider than this, whatever the terminal: longer lines are hard to follow. */
const WIDTH_MAX = 100
const GAP = '  '

export interface Column {
  title: string
  /** Numbers stand at the right. */
  isNumber?: boolean
  /** Gives way where the line is too long: its start is cut, because the ends of names differ. */
  isElastic?: boolean
}

/** @param columns of the terminal */
export function table(columns: readonly Column[], rows: readonly string[][], columnsMax: number): string {
  const all = [columns.map(({ title }) => title), ...rows]
  const widths = columns.map((_, at) => Math.max(...all.map((row) => row[at]!.length)))
  const elastic = columns.findIndex(({ isElastic }) => isElastic)
  const width = widths.reduce((sum, one) => sum + one) + GAP.length * (columns.length - 1)
  const tooMuch = width - Math.min(WIDTH_MAX, columnsMax)
  if (elastic >= 0 && tooMuch > 0)
    widths[elastic] = Math.max(columns[elastic]!.title.length, widths[elastic]! - tooMuch)
  const lines = all.map((row) =>
    row
      .map((text, at) => {
        const cell = shortened(text, widths[at]!)
        return columns[at]!.isNumber ? cell.padStart(widths[at]!) : cell.padEnd(widths[at]!)
      })
      .join(GAP)
      .trimEnd(),
  )
  return `${lines.join('\n')}\n`
}

function shortened(text: string, width: number): string {
  return text.length <= width ? text : `…${text.slice(text.length - width + 1)}`
}

const UNITS: [string, number][] = [
  ['d', 24 * 3600_000],
  ['h', 3600_000],
  ['min', 60_000],
]

/** `5 min ago`. @param time ISO 8601 */
export function agoText(time: string, nowMs: number): string {
  const ms = nowMs - Date.parse(time)
  const [unit, unitMs] = UNITS.find(([, unitMs]) => ms >= unitMs) ?? ['', 0]
  return unitMs === 0 ? 'now' : `${Math.floor(ms / unitMs)} ${unit} ago`
}

/** Enough to tell blobs apart, and to find one. */
export function shortDigest(digest: string): string {
  return digest.slice(0, 'sha256:'.length + 12)
}
