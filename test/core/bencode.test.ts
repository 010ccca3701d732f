import fc from 'fast-check'
import { expect, test } from 'vitest'
import {
  type Bencoded,
  decodeBencode,
  decodeBencodePrefix,
  type Encodable,
  encodeBencode,
} from '../../core/bencode.ts'
import { InvalidInputError } from '../../core/errors.ts'

const bytes = fc.uint8Array({ maxLength: 40 }).map((data) => Buffer.from(data))
const { value } = fc.letrec<{ value: Encodable }>((tie) => ({
  value: fc.oneof(
    { depthSize: 'small', maxDepth: 5 },
    fc.integer({ min: Number.MIN_SAFE_INTEGER, max: Number.MAX_SAFE_INTEGER }),
    bytes,
    fc.array(tie('value'), { maxLength: 5 }),
    fc.dictionary(fc.string({ unit: 'binary-ascii' }), tie('value'), { maxKeys: 5, noNullPrototype: true }),
  ),
}))

/** What a decoder gives for what an encoder was given. */
function decoded(value: Encodable): Bencoded {
  if (typeof value === 'number') return value
  if (value instanceof Uint8Array) return Buffer.from(value)
  if (Array.isArray(value)) return value.map(decoded)
  const entries = Object.entries(value as Record<string, Encodable>)
  return new Map(entries.map(([key, item]) => [Buffer.from(key).toString('latin1'), decoded(item)]))
}

test('what is encoded decodes to itself', () => {
  fc.assert(
    fc.property(value, (value) => void expect(decodeBencode(encodeBencode(value))).toEqual(decoded(value))),
    { numRuns: 500 },
  )
})

test('encoding is canonical: decoding and encoding again gives the same bytes', () => {
  fc.assert(
    fc.property(value, (value) => {
      const once = encodeBencode(value)
      expect(encodeBencode(decodeBencode(once) as Encodable).equals(once)).toBe(true)
    }),
    { numRuns: 500 },
  )
})

test('dictionary keys go out in the order of their bytes, whatever their order was', () => {
  const names = fc.uniqueArray(fc.string({ unit: 'binary-ascii', minLength: 1 }), { maxLength: 8 })
  fc.assert(
    fc.property(names, (names) => {
      const there = encodeBencode(Object.fromEntries(names.map((name) => [name, 1])))
      const back = encodeBencode(Object.fromEntries([...names].reverse().map((name) => [name, 1])))
      expect(there.equals(back)).toBe(true)
    }),
  )
})

test('no input makes the decoder fail otherwise than with INVALID_INPUT', () => {
  const tokens = fc.array(
    fc.constantFrom('i', 'e', 'l', 'd', ':', '-', '0', '1', '9', '4:', 'spam', '99999999999999999'),
    { maxLength: 40 },
  )
  const inputs = fc.oneof(
    bytes,
    tokens.map((parts) => Buffer.from(parts.join(''))),
  )
  fc.assert(
    fc.property(inputs, (input) => {
      try {
        const { end } = decodeBencodePrefix(input)
        expect(end).toBeLessThanOrEqual(input.length)
      } catch (error) {
        expect(error).toBeInstanceOf(InvalidInputError)
      }
    }),
    { numRuns: 5000 },
  )
})

for (const text of [
  '',
  'i',
  'ie',
  'i-0e',
  'i01e',
  'i-e',
  'i1',
  '1:',
  '01:a',
  '-1:a',
  'l',
  'd',
  'di1e1:ae',
  'd1:a',
  'd1:ai1e1:ai2ee',
  'i1ei2e',
  '5:abc',
  'i9007199254740993e',
  '9'.repeat(40),
  `${'l'.repeat(10)}${'e'.repeat(10)}`,
]) {
  test(`${text.slice(0, 30) || 'nothing'} is refused`, () => {
    expect(() => decodeBencode(Buffer.from(text))).toThrow(InvalidInputError)
  })
}

test('a string that claims to be longer than its input takes no memory', () => {
  expect(() => decodeBencode(Buffer.from('9007199254740991:x'))).toThrow(InvalidInputError)
})

test('a hundred thousand open lists are refused without growing the stack', () => {
  expect(() => decodeBencode(Buffer.alloc(100_000, 'l'))).toThrow(InvalidInputError)
})
