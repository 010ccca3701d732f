import { LabCommandError } from '../errors.ts'

/** What a program wrote to its terminal, as lines of text in one style each. */

export const COLOURS = {
  31: 'red',
  32: 'green',
  33: 'yellow',
  34: 'blue',
  35: 'magenta',
  36: 'cyan',
} as const
export type Colour = (typeof COLOURS)[keyof typeof COLOURS]

export interface Style {
  colour?: Colour
  isBold?: true
  isDim?: true
}

export interface Span {
  text: string
  style: Style
}

const ESCAPE = '\u001b'
/** Select Graphic Rendition (ECMA-48, 8.3.117): all that pages have. */
const RENDITION = new RegExp(`${ESCAPE}\\[([\\d;]*)m`)

/** @throws LabCommandError on any other escape: a page moves no cursor */
export function screenOf(output: string): Span[][] {
  let style: Style = {}
  return output
    .replaceAll('\r\n', '\n')
    .trimEnd()
    .split('\n')
    .map((line) => {
      const spans: Span[] = []
      line.split(RENDITION).forEach((part, index) => {
        if (index % 2 === 1) style = part.split(';').reduce(styleAfter, style)
        else if (part.includes(ESCAPE))
          throw new LabCommandError(`an escape that is no colour: ${JSON.stringify(part)}`)
        else if (part !== '') spans.push({ text: part, style })
      })
      return spans
    })
}

function styleAfter(style: Style, code: string): Style {
  const number = Number(code)
  if (number === 0) return {}
  if (number === 1) return { ...style, isBold: true }
  if (number === 2) return { ...style, isDim: true }
  const colour = COLOURS[number as keyof typeof COLOURS]
  if (colour === undefined) throw new LabCommandError(`a colour that pictures do not have: ${code}`)
  return { ...style, colour }
}
