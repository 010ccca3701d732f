import { beforeEach, expect, test } from 'vitest'
import type { BlobRequest } from '../../../client/index.ts'
import {
  ACCEPTED_CREDENTIALS_MAX,
  ACCEPTED_MS_MAX,
  ACCEPTED_OPAQUE_MS,
  AcceptedCredentials,
} from '../../../client/origin/accepted-credentials.ts'
import type { Credential } from '../../../core/tracker-api.ts'
import { makeSigner, pullClaims } from '../../core/signed-tokens.ts'

const signer = makeSigner('ES256')
const nowMs = Date.now()
let accepted: AcceptedCredentials
beforeEach(() => {
  accepted = new AcceptedCredentials()
})

const none: Credential = { scheme: 'none' }
const bearer = (token: string): Credential => ({ scheme: 'bearer', token })
const lasting = (seconds: number) =>
  bearer(signer.sign(pullClaims('team/app', { exp: Math.floor(nowMs / 1000) + seconds })))
const of = (credential: Credential, repository = 'team/app', registry = 'registry.example') =>
  ({ registry, repository, credential }) as Pick<BlobRequest, 'registry' | 'repository' | 'credential'>
const note = (credential: Credential, isOpen = false) => accepted.note(of(credential), { isOpen, nowMs })

test('a credential counts for its own registry, repository and scheme only', () => {
  const token = signer.sign(pullClaims('team/app'))
  note(bearer(token))
  expect(accepted.has(of(bearer(token)), nowMs)).toBe(true)
  const others = [
    of(bearer(token), 'team/other'),
    of(bearer(token), 'team/app', 'other.example'),
    // What peers are shown of it, under another signature.
    of(bearer(`${token.slice(0, token.lastIndexOf('.'))}.${'A'.repeat(86)}`)),
    of({ scheme: 'basic', value: token }),
    of(none),
  ]
  expect(others.map((other) => accepted.has(other, nowMs))).toEqual(others.map(() => false))
})

test.each([
  ['a token, until it ends', lasting(120), false, 120_000, 1000],
  ['a token that claims to last, for an hour', lasting(10 ** 6), false, ACCEPTED_MS_MAX, 0],
  ['an opaque token, for a minute', bearer('opaque'), false, ACCEPTED_OPAQUE_MS, 0],
  [
    'a password, for a minute',
    { scheme: 'basic', value: 'dTpw' } as Credential,
    false,
    ACCEPTED_OPAQUE_MS,
    0,
  ],
  ['nothing where some are asked, for a minute', none, false, ACCEPTED_OPAQUE_MS, 0],
  ['nothing where nobody is asked, for an hour', none, true, ACCEPTED_MS_MAX, 0],
])('%s', (_name, credential, isOpen, lastsMs, leewayMs) => {
  note(credential, isOpen)
  expect(accepted.has(of(credential), nowMs + lastsMs - leewayMs - 1)).toBe(true)
  expect(accepted.has(of(credential), nowMs + lastsMs)).toBe(false)
})

test('the oldest of too many acceptances are forgotten', () => {
  for (let count = 0; count <= ACCEPTED_CREDENTIALS_MAX; count++) note(bearer(`opaque${count}`))
  expect(accepted.has(of(bearer('opaque0')), nowMs)).toBe(false)
  expect(accepted.has(of(bearer('opaque1')), nowMs)).toBe(true)
})
