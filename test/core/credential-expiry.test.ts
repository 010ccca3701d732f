import { expect, test } from 'vitest'
import { endsAtMs } from '../../core/credential-expiry.ts'

const NOW_SECONDS = 1_800_000_000

function endOf(claims: object): number | undefined {
  const part = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url')
  const signature = Buffer.alloc(64).toString('base64url')
  const token = `${part({ alg: 'ES256', typ: 'JWT', kid: 'k' })}.${part({ iss: 'i', aud: 'a', ...claims })}.${signature}`
  const ends = endsAtMs({ scheme: 'bearer', token }, NOW_SECONDS * 1000)
  return ends === undefined ? undefined : ends / 1000 - NOW_SECONDS
}

test('a token expires as written when the clocks agree', () => {
  expect(endOf({ nbf: NOW_SECONDS - 10, exp: NOW_SECONDS + 50 })).toBe(50)
  expect(endOf({ exp: NOW_SECONDS + 50 })).toBe(50)
})

test('a fresh token lives as long as its own times say when the clocks disagree', () => {
  expect(endOf({ nbf: NOW_SECONDS + 300, exp: NOW_SECONDS + 360 })).toBe(60)
  expect(endOf({ nbf: NOW_SECONDS - 300, exp: NOW_SECONDS - 240 })).toBe(60)
})

test('a credential without times has no known expiry', () => {
  expect(endsAtMs({ scheme: 'none' }, 0)).toBeUndefined()
  expect(endsAtMs({ scheme: 'bearer', token: 'opaque' }, 0)).toBeUndefined()
})
