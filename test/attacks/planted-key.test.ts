import { afterAll, beforeAll, expect } from 'vitest'
import { openRegistries, type RegistryClients } from '../../core/registry-client.ts'
import { prepareProver } from '../../core/token-proof/index.ts'
import type { RunningProxy } from '../../proxy/proxy.ts'
import { makeSigner, pullClaims, type Signer } from '../core/signed-tokens.ts'
import { REPOSITORY } from '../core/test-registry.ts'
import { askThrough } from '../proxy/test-proxy.ts'
import { startNodeProxy } from '../pull/node-proxy.ts'
import { attack, mint, pullClaimsFor, stealAuthority } from './attacker.ts'
import { attackTest, controlTest } from './ledger.ts'
import { loot } from './loot.ts'
import { expectLogged, expectNothingGiven, expectUnharmed, useTarget } from './target.ts'

/**
 * A local user of the holder's machine, and member of its cluster, who signs tokens itself: first it sends one through
 * the holder's proxy, so that the holder meets its key beside the registry's; then it comes as a peer.
 */
const target = useTarget()
let proxy: RunningProxy
let registries: RegistryClients
let caPem: string

beforeAll(async () => {
  registries = openRegistries([target.cluster.registry.config])
  const started = await startNodeProxy(target.holder.client, registries)
  proxy = started.proxy
  caPem = started.caPem
})
afterAll(async () => {
  await proxy?.close()
  for (const client of registries?.values() ?? []) await client.close()
})

async function askProxy(token: string | undefined): Promise<{ status: number }> {
  const { host } = target.cluster.registry
  const answer = await askThrough(
    { port: proxy.address.port, host, caPem },
    {
      path: `/v2/${REPOSITORY}/blobs/${target.blob.digest}`,
      ...(token === undefined ? {} : { headers: { authorization: `Bearer ${token}` } }),
    },
  )
  if (answer.body.length > 0 && target.blob.bytes.includes(answer.body)) loot.bytes += answer.body.length
  return answer
}

async function expectPeerRefuses(token: string, own: Signer): Promise<void> {
  const { cluster, member, blob, holder, swarm } = target
  const claims = pullClaimsFor(cluster, member, blob, { token })
  const certificate = mint(await stealAuthority(cluster, member.cluster), claims)
  const mark = target.logged.length
  const dial = { node: holder, authorities: member.authorities, certificate, sni: swarm }
  const line = await attack(dial, (line) => {
    line.sendHandshakes(swarm, member.node)
    const prover = prepareProver(token, own.publicJwk)
    line.sendProof({ signingInput: prover.signingInput, proof: prover.prove(line.binding()) })
    line.ask()
  })
  expectNothingGiven(line)
  await expectLogged(target, mark, 'PEER_REFUSED')
}

controlTest(
  'the registry’s token is served by the proxy: the attacks fail for the right reason',
  async () => {
    const { credential } = target.cluster.request(target.blob)
    expect((await askProxy(credential.scheme === 'bearer' ? credential.token : '')).status).toBe(200)
  },
)

attackTest('a key that came through the local proxy in a token of its own is not adopted', async () => {
  const own = makeSigner('ES256')
  const token = own.sign(pullClaims(REPOSITORY), { jwk: own.publicJwk })
  expect((await askProxy(token)).status).toBe(401)
  await expect(target.member.pull(target.cluster, target.blob, token)).rejects.toMatchObject({
    code: 'TRACKER_REFUSED',
    trackerCode: 'TOKEN_KEY_UNTRUSTED',
  })
  await expectPeerRefuses(token, own)
})

attackTest('nor is it when the registry answers success to everyone', async () => {
  const { registry } = target.cluster
  const honest = registry.door
  registry.door = (_, response) => void response.writeHead(200, { 'content-length': 5 }).end('hello')
  const own = makeSigner('ES256')
  const token = own.sign(pullClaims(REPOSITORY, { jti: 'second' }), { jwk: own.publicJwk })
  try {
    await askProxy(token)
    await expect(target.member.pull(target.cluster, target.blob, token)).rejects.toMatchObject({
      trackerCode: 'TOKEN_KEY_UNTRUSTED',
    })
  } finally {
    registry.door = honest
  }
  await expectPeerRefuses(token, own)
})

for (const [who, tokenOf] of [
  ['no credentials', () => undefined],
  ['a token that the registry does not know', () => 'made.up.token'],
  [
    'a token for another repository',
    () => target.cluster.signer.sign(pullClaims('team/other'), { jwk: target.cluster.signer.publicJwk }),
  ],
] as const) {
  attackTest(`a local user with ${who} gets nothing of what the node has`, async () => {
    expect((await askProxy(tokenOf())).status).toBe(401)
  })
}

expectUnharmed(target)
