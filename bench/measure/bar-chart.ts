/** The parts of the benchmarks' bar charts: SVG text, readable on light and dark pages alike. */

export const CHART_WIDTH = 760
/** Gap between the groups of bars, in bars. */
const GAP_BARS = 1.2
const FONT = 'font-family="system-ui, sans-serif" fill="#1f2933"'

/** A whole chart: white ground with its contents. */
export function svgPage({
  title,
  height,
  parts,
}: {
  title: string
  height: number
  parts: string[]
}): string {
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${CHART_WIDTH} ${height}" role="img">`,
    `<title>${title}</title>`,
    `<rect width="${CHART_WIDTH}" height="${height}" fill="#ffffff"/>`,
    ...parts,
    '</svg>\n',
  ].join('\n')
}

export function heading(text: string): string {
  return `<text x="10" y="20" font-size="15" font-weight="600" ${FONT}>${text}</text>`
}

/** One row of coloured squares with their names. */
export function legend<Name extends string>(
  names: readonly Name[],
  colours: Record<Name, string>,
  { top, step }: { top: number; step: number },
): string[] {
  return names.map((name, index) => {
    const left = 10 + index * step
    const square = `<rect x="${left}" y="${top}" width="12" height="12" fill="${colours[name]}"/>`
    return `${square}<text x="${left + 18}" y="${top + 10.5}" font-size="13" ${FONT}>${name}</text>`
  })
}

/** Positions of bars that fill the chart's width in groups of equal size. */
export class BarGroups {
  readonly #barsPerGroup: number
  readonly #barWidth: number

  constructor(groupCount: number, barsPerGroup: number) {
    this.#barsPerGroup = barsPerGroup
    this.#barWidth = CHART_WIDTH / (groupCount * (barsPerGroup + GAP_BARS))
  }

  /** A bar that stands on `bottom`, with its label above it. */
  bar(place: { group: number; index: number }, look: BarLook): string {
    const x = (this.#leftOf(place.group) + place.index) * this.#barWidth
    const box = { x, y: look.bottom - look.height, width: this.#barWidth * 0.86, height: look.height }
    const attributes = Object.entries(box).map(([name, value]) => `${name}="${value.toFixed(1)}"`)
    const rectangle = `<rect ${attributes.join(' ')} fill="${look.colour}"/>`
    return `${rectangle}${centred(x + box.width / 2, box.y - 5, 12, look.label)}`
  }

  /** The text below a group. */
  groupLabel(group: number, y: number, text: string, fontSize: number): string {
    return centred((this.#leftOf(group) + this.#barsPerGroup / 2) * this.#barWidth, y, fontSize, text)
  }

  /** In bars. */
  #leftOf(group: number): number {
    return group * (this.#barsPerGroup + GAP_BARS) + GAP_BARS / 2
  }
}

export interface BarLook {
  bottom: number
  height: number
  colour: string
  label: string
}

function centred(x: number, y: number, fontSize: number, text: string): string {
  const place = `x="${x.toFixed(1)}" y="${y.toFixed(1)}"`
  return `<text ${place} font-size="${fontSize}" text-anchor="middle" ${FONT}>${text}</text>`
}
