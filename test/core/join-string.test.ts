import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type JoinString, joinStringOf, parseJoinString } from '../../core/join-string.ts'
import type { ClusterId } from '../../core/metainfo.ts'
import { scrubSecrets } from '../../core/scrub-secrets.ts'

const ADDRESSES = ['tracker.example.com:7443', '10.0.0.5:1', '[2001:db8::5]:65535', 'a:443']
const bytes = (length: number) =>
  fc.uint8Array({ minLength: length, maxLength: length }).map((one) => Buffer.from(one))
const joins: fc.Arbitrary<JoinString> = fc
  .record({
    authorityPin: bytes(32),
    id: bytes(8),
    secret: bytes(32),
    trackers: fc.array(fc.constantFrom(...ADDRESSES), { minLength: 1, maxLength: 8 }),
  })
  .map(({ authorityPin, id, secret, trackers }) => {
    const cluster = `c${id.toString('hex')}` as ClusterId
    return {
      authorityPin,
      cluster,
      joinToken: `SHOAL-1-${cluster}-${secret.toString('base64url')}`,
      trackers,
    }
  })
const refusalOf = (text: string): string | undefined => {
  try {
    parseJoinString(text)
    return undefined
  } catch (error) {
    return (error as { code: string }).code
  }
}
const ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'

describe('a join string', () => {
  it('says what it was made of, also with white space that a terminal put in', () => {
    fc.assert(
      fc.property(joins, fc.nat(100), (join, at) => {
        const text = joinStringOf(join)
        expect(text).toMatch(/^SHOALJOIN-1-[\w-]+$/)
        expect(parseJoinString(text)).toEqual(join)
        expect(parseJoinString(` ${text.slice(0, at)}\r\n  ${text.slice(at)}\n`)).toEqual(join)
      }),
    )
  })

  it('with any one character changed, missing or added is recognised as mistyped', () => {
    fc.assert(
      fc.property(joins, fc.nat(), fc.nat(63), (join, place, letter) => {
        const text = joinStringOf(join)
        const at = 'SHOALJOIN-1-'.length + (place % (text.length - 'SHOALJOIN-1-'.length))
        const other = ALPHABET[letter]!
        fc.pre(other !== text[at])
        expect(refusalOf(text.slice(0, at) + other + text.slice(at + 1))).toBe('JOIN_STRING_TYPO')
        expect(refusalOf(text.slice(0, at))).toBe('JOIN_STRING_TYPO')
        expect(refusalOf(text.slice(0, at) + text.slice(at + 1))).toBe('JOIN_STRING_TYPO')
        expect(refusalOf(`${text}${other}`)).toBe('JOIN_STRING_TYPO')
      }),
    )
  })

  it('that no Shoal of this version made is refused with a code, whatever it is', () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string(),
          fc.string().map((rest) => `SHOALJOIN-1-${rest}`),
        ),
        (text) => {
          expect(refusalOf(text)).toMatch(/^JOIN_STRING/)
        },
      ),
    )
    expect(refusalOf('SHOALJOIN-2-abc')).toBe('JOIN_STRING_VERSION')
    expect(refusalOf(`SHOALJOIN-1-${'A'.repeat(100_000)}`)).toBe('JOIN_STRING_TYPO')
  })

  it('leaves no trace in a log', () => {
    fc.assert(
      fc.property(joins, (join) => {
        const text = joinStringOf(join)
        expect(scrubSecrets(`joining with ${text} now`)).toBe('joining with SHOALJOIN-1-[redacted] now')
      }),
    )
  })
})
