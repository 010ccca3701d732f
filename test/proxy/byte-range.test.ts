import fc from 'fast-check'
import { expect, test } from 'vitest'
import { spanOf } from '../../proxy/byte-range.ts'

const ETAG = '"sha256:x"'
const whole = { status: 200, start: 0, end: 10 }
const span = (range: string | undefined, ifRange?: string) => spanOf({ range, ifRange }, 10, ETAG)

test.each([
  ['bytes=0-', { status: 206, start: 0, end: 10 }],
  ['bytes=3-5', { status: 206, start: 3, end: 6 }],
  ['BYTES=9-9', { status: 206, start: 9, end: 10 }],
  ['bytes=3-999999999999', { status: 206, start: 3, end: 10 }],
  ['bytes=-3', { status: 206, start: 7, end: 10 }],
  ['bytes=-11', { status: 206, start: 0, end: 10 }],
  ['bytes=-0', { status: 416 }],
  ['bytes=10-', { status: 416 }],
  ['bytes=10-12', { status: 416 }],
  // What a server does not understand or want, it ignores.
  [undefined, whole],
  ['bytes=5-3', whole],
  ['bytes=0-1,3-4', whole],
  ['bytes=-', whole],
  ['bytes=a-b', whole],
  ['items=0-1', whole],
  ['bytes 0-1', whole],
  ['bytes=0x1-2', whole],
  ['bytes=99999999999999999999-', whole],
])('Range %s of ten bytes', (range, expected) => {
  expect(span(range)).toEqual(expected)
})

test('If-Range keeps the range only for this very blob', () => {
  expect(span('bytes=3-5', ETAG)).toMatchObject({ status: 206 })
  for (const other of ['"sha256:y"', `W/${ETAG}`, 'Sat, 29 Oct 1994 19:43:31 GMT', '']) {
    expect(span('bytes=3-5', other)).toEqual(whole)
  }
})

test('no field makes a span outside the blob', () => {
  const field = fc.oneof(
    fc.string(),
    fc.tuple(fc.nat(30), fc.nat(30)).map(([a, b]) => `bytes=${a}-${b}`),
  )
  fc.assert(
    fc.property(field, fc.nat(20), (range, bytes) => {
      const found = spanOf({ range, ifRange: undefined }, bytes, ETAG)
      if (found.status === 416) return
      expect(found.start).toBeGreaterThanOrEqual(0)
      expect(found.end).toBeLessThanOrEqual(bytes)
      if (found.status === 206) expect(found.start).toBeLessThan(found.end)
    }),
  )
})
