import type { Colour, Span } from './screen.ts'

/** Draws lines of a terminal as SVG. */

export interface Palette extends Record<Colour, string> {
  back: string
  text: string
}

/** Colours of terminals as people have them; `light` and `dark` are those of the documentation. */
export const PALETTES = {
  light: {
    back: '#ffffff',
    text: '#1f2328',
    red: '#cf222e',
    green: '#116329',
    yellow: '#7d4e00',
    blue: '#0969da',
    magenta: '#8250df',
    cyan: '#1b7c83',
  },
  dark: {
    back: '#0d1117',
    text: '#e6edf3',
    red: '#ff7b72',
    green: '#3fb950',
    yellow: '#d29922',
    blue: '#58a6ff',
    magenta: '#bc8cff',
    cyan: '#39c5cf',
  },
  /** GNOME's Tango, on white. */
  'tango-light': {
    back: '#ffffff',
    text: '#171421',
    red: '#cc0000',
    green: '#4e9a06',
    yellow: '#c4a000',
    blue: '#3465a4',
    magenta: '#75507b',
    cyan: '#06989a',
  },
  /** xterm's own, on white: the palest yellow that is in use. */
  'xterm-light': {
    back: '#ffffff',
    text: '#000000',
    red: '#cd0000',
    green: '#00cd00',
    yellow: '#cdcd00',
    blue: '#0000ee',
    magenta: '#cd00cd',
    cyan: '#00cdcd',
  },
  'xterm-dark': {
    back: '#000000',
    text: '#e5e5e5',
    red: '#cd0000',
    green: '#00cd00',
    yellow: '#cdcd00',
    blue: '#0000ee',
    magenta: '#cd00cd',
    cyan: '#00cdcd',
  },
} as const satisfies Record<string, Palette>
export type PaletteName = keyof typeof PALETTES

const FONT_PX = 14
/** Advance of DejaVu Sans Mono, of which others differ little; each span is given its exact length. */
const CELL_PX = 8.43
const LINE_PX = 18
const MARGIN_PX = 12

export interface Drawing {
  columns: number
  /** What was typed; for screen readers too. */
  command: string
  /** Absent: light or dark as the reader's own page is. */
  palette?: PaletteName
}

export function svgOf(lines: readonly (readonly Span[])[], { columns, command, palette }: Drawing): string {
  const prompt: Span[] = [{ text: `$ ${command}`, style: { isDim: true } }]
  const all = [prompt, ...lines]
  const width = Math.ceil(columns * CELL_PX + 2 * MARGIN_PX)
  const height = all.length * LINE_PX + 2 * MARGIN_PX
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img">`,
    `<title>${escaped(command)}</title>`,
    `<style>${styles(palette)}</style>`,
    `<rect class="back" width="${width}" height="${height}" rx="6"/>`,
    ...all.flatMap((line, index) => lineOf(line, MARGIN_PX + (index + 0.75) * LINE_PX)),
    '</svg>\n',
  ].join('\n')
}

function lineOf(spans: readonly Span[], y: number): string[] {
  let column = 0
  return spans.flatMap(({ text, style }) => {
    const begin = column
    column += text.length
    // Spaces at the ends are drawn by the place of what follows.
    const shown = text.trim()
    if (shown === '') return []
    const x = MARGIN_PX + (begin + text.length - text.trimStart().length) * CELL_PX
    const classes = [style.colour, style.isBold && 'bold', style.isDim && 'dim'].filter(Boolean).join(' ')
    const named = classes === '' ? '' : ` class="${classes}"`
    const length = (shown.length * CELL_PX).toFixed(1)
    return `<text${named} x="${x.toFixed(1)}" y="${y.toFixed(1)}" textLength="${length}" xml:space="preserve">${escaped(shown)}</text>`
  })
}

function styles(palette: PaletteName | undefined): string {
  const font = `text{font:${FONT_PX}px "DejaVu Sans Mono",ui-monospace,Menlo,Consolas,monospace;white-space:pre}.bold{font-weight:bold}.dim{opacity:.65}`
  if (palette !== undefined) return font + coloursOf(PALETTES[palette])
  const { light, dark } = PALETTES
  return `${font}${coloursOf(light)}@media(prefers-color-scheme:dark){${coloursOf(dark)}}`
}

function coloursOf({ back, text, ...colours }: Palette): string {
  const named = Object.entries(colours).map(([name, colour]) => `.${name}{fill:${colour}}`)
  return `.back{fill:${back}}text{fill:${text}}${named.join('')}`
}

function escaped(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;')
}
