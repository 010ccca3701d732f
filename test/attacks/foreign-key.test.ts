import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect } from 'vitest'
import { issueLeaf, makeAuthority, spkiOf } from '../../core/issue-certificate.ts'
import { STRANGER_MS } from '../../core/strangers.ts'
import { makeSigner, pullClaims } from '../core/signed-tokens.ts'
import { APP, startWorld } from '../tracker/test-tracker.ts'
import { attackTest } from './ledger.ts'
import { loot } from './loot.ts'

/**
 * A member who signs tokens with a key of its own, for a registry whose keys are configured. The registry answers as a
 * lucky racer would have it: the first request is served, all others are refused.
 */
const folder = mkdtempSync(join(tmpdir(), 'shoal-foreign-key-'))
afterAll(() => rmSync(folder, { recursive: true }))
const honest = makeSigner('ES256')
const mine = makeSigner('ES256')

async function certificateOf(signer: typeof mine): Promise<string> {
  const authority = await makeAuthority({ commonName: 'token authority', validForSeconds: 60 })
  const leaf = await issueLeaf(authority, {
    commonName: 'token server',
    validForSeconds: 60,
    names: [{ type: 'dns', value: 'token.example' }],
    usages: ['serverAuth'],
    spki: spkiOf(signer.publicKey),
  })
  return leaf.certificatePem
}

const FILES: Record<string, () => Promise<string> | string> = {
  'a JWKS': () => JSON.stringify({ keys: [{ ...honest.publicJwk, kid: 'key-1' }] }),
  'a bundle': () => certificateOf(honest),
}
const FORMS: Record<string, () => Promise<Record<string, unknown>> | Record<string, unknown>> = {
  jwk: () => ({ jwk: mine.publicJwk }),
  x5c: async () => ({ x5c: [(await certificateOf(mine)).replace(/-----[^-]+-----|\s/g, '')] }),
  'the key id of a configured key': () => ({ kid: 'key-1' }),
}
const PINS: Record<string, object> = {
  'with issuer and audience': { issuer: 'token server', audience: 'registry' },
  without: {},
}

for (const [what, textOf] of Object.entries(FILES)) {
  for (const [pins, pinned] of Object.entries(PINS)) {
    for (const [form, headerOf] of Object.entries(FORMS)) {
      attackTest(
        `beside ${what} ${pins}, a key of the attacker's in ${form} is not asked about`,
        async () => {
          let requests = 0
          const tokenKeysFile = join(folder, 'keys')
          writeFileSync(tokenKeysFile, await textOf())
          const world = await startWorld({
            registry: { ...pinned, tokenKeysFile },
            door: (_, response) => {
              requests += 1
              response.writeHead(requests === 1 ? 200 : 401, { 'content-length': 1_000_000 }).end()
            },
          })
          const node = await world.joined(await world.makeCluster())
          const credential = { scheme: 'bearer', token: mine.sign(pullClaims(APP), await headerOf()) }
          const { status, body } = await node.pull({ credential })
          const { tokenKeys } = (await node.heartbeat()).body.trust
          await world.close()
          // What a certificate would open.
          if (status === 200) loot.bytes += 1_000_000
          expect(status).toBe(401)
          expect(['TOKEN_KEY_UNTRUSTED', 'TOKEN_SIGNATURE']).toContain(body.error.code)
          expect(tokenKeys.map(({ jwk }: { jwk: { x: string } }) => jwk.x)).not.toContain(mine.publicJwk.x)
          expect(requests).toBe(0)
        },
      )
    }
  }
}

attackTest(
  'where everybody is sent to a login page, a redirect puts no blob into his repository',
  async () => {
    const tokenKeysFile = join(folder, 'keys')
    writeFileSync(tokenKeysFile, JSON.stringify({ keys: [{ ...honest.publicJwk, kid: 'key-1' }] }))
    const world = await startWorld({
      registry: { ...PINS['with issuer and audience'], tokenKeysFile },
      door: (_, response) => void response.writeHead(302, { location: '/login' }).end(),
    })
    const node = await world.joined(await world.makeCluster())
    const token = honest.sign(pullClaims(APP), { kid: 'key-1' })
    const { status, body } = await node.pull({ credential: { scheme: 'bearer', token } })
    world.registry.door = (request, response) =>
      request.headers.authorization === undefined
        ? void response.writeHead(401).end()
        : void response.writeHead(307, { location: 'https://storage.example/blob' }).end()
    world.clockOffsetMs = STRANGER_MS + 1000
    const proven = await node.pull({ credential: { scheme: 'bearer', token } })
    await world.close()
    if (status === 200) loot.bytes += 1_000_000
    expect([status, body.error.code]).toEqual([403, 'CREDENTIAL_UNPROVEN'])
    expect(proven.status).toBe(200)
  },
)
