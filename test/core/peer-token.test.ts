import { generateKeyPairSync } from 'node:crypto'
import { expect, it } from 'vitest'
import { mintPeerToken, peerTokenJwk } from '../../core/peer-token.ts'

it('a key for peer tokens has one public half, made once, that tokens name', () => {
  const [one, other] = [generateKeyPairSync('ed25519').privateKey, generateKeyPairSync('ed25519').privateKey]
  expect(peerTokenJwk(one)).toBe(peerTokenJwk(one))
  expect(peerTokenJwk(one).kid).not.toBe(peerTokenJwk(other).kid)
  expect(peerTokenJwk(one)).not.toHaveProperty('d')
  const claims = {
    cluster: 'c',
    registry: 'r.example',
    repository: 'a/b',
    spki: Buffer.from('key'),
    nowMs: 0,
  }
  const [header] = mintPeerToken(one, claims as never).split('.')
  expect(JSON.parse(Buffer.from(header!, 'base64url').toString())).toMatchObject({
    kid: peerTokenJwk(one).kid,
  })
})
