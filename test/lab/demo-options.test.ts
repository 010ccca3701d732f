import { expect, test } from 'vitest'
import { parseDemoOptions } from '../../lab/demo/options.ts'

test('without flags the image has at least 100 MB and the report is for people', () => {
  const options = parseDemoOptions([])
  expect(options).toMatchObject({ isJson: false, isKept: false, isHelp: false })
  expect(options.imageMib * 1024 ** 2).toBeGreaterThan(100e6)
})

test('flags are read', () => {
  expect(parseDemoOptions(['--json', '--keep', '--image-mib', '7'])).toMatchObject({
    isJson: true,
    isKept: true,
    imageMib: 7,
  })
})

test('the parts are real if they are here, unless a flag says which', () => {
  expect(parseDemoOptions([]).stage).toBeUndefined()
  expect(parseDemoOptions(['--real']).stage).toBe('real')
  expect(parseDemoOptions(['--stand-ins']).stage).toBe('stand-ins')
  expect(() => parseDemoOptions(['--real', '--stand-ins'])).toThrow(
    expect.objectContaining({ code: 'USAGE' }),
  )
})

test('an unknown flag is refused, with the nearest known one as the hint', () => {
  expect(() => parseDemoOptions(['--jsno'])).toThrow(
    expect.objectContaining({ code: 'USAGE', hint: 'Did you mean --json?' }),
  )
})

test.each(['0', '-1', 'many', '1.5', '99999', ''])('an image of %s MiB is refused', (text) => {
  expect(() => parseDemoOptions([`--image-mib=${text}`])).toThrow(expect.objectContaining({ code: 'USAGE' }))
})
