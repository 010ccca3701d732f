import { expect, it } from 'vitest'
import { screenOf } from '../../lab/pictures/screen.ts'
import { svgOf } from '../../lab/pictures/svg.ts'

const ESCAPE = '\u001b'

it('a picture has each text at its column, in its colour', () => {
  const lines = screenOf(`${ESCAPE}[31merror:${ESCAPE}[0m a <b>\r\n  ${ESCAPE}[1mbold${ESCAPE}[0m\r\n`)
  expect(lines).toEqual([
    [
      { text: 'error:', style: { colour: 'red' } },
      { text: ' a <b>', style: {} },
    ],
    [
      { text: '  ', style: {} },
      { text: 'bold', style: { isBold: true } },
    ],
  ])
  const svg = svgOf(lines, { columns: 80, command: 'shoal status' })
  expect(svg).toMatch(/<text class="red" x="12.0" [^>]*>error:<\/text>/)
  expect(svg).toMatch(/<text class="bold" x="28.9" [^>]*>bold<\/text>/)
  expect(svg).toContain('>a &lt;b&gt;</text>')
  expect(svg).toContain('prefers-color-scheme:dark')
  expect(svgOf(lines, { columns: 80, command: 'x', palette: 'light' })).not.toContain('prefers')
})

it('an escape that moves the cursor is no part of a page', () => {
  expect(() => screenOf(`${ESCAPE}[2J`)).toThrow('an escape that is no colour')
})
