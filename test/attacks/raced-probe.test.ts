import { jwtVerify } from 'jose'
import { expect } from 'vitest'
import { prepareProver } from '../../core/token-proof/index.ts'
import { FAILED_GRANTS_BURST_MAX } from '../../tracker/pull/failed-grants.ts'
import { FAILED_PROBES_PER_NODE_AND_DAY_MAX } from '../../tracker/pull/trusted-keys.ts'
import { makeSigner, pullClaims, type Signer, signingInputOf } from '../core/signed-tokens.ts'
import { type Door, REPOSITORY } from '../core/test-registry.ts'
import { randomBlob, type TestBlob } from '../pull/test-cluster.ts'
import { attack, enrol, type Member, mint, pullClaimsFor, stealAuthority } from './attacker.ts'
import { attackTest, controlTest } from './ledger.ts'
import { expectLogged, expectNothingGiven, expectUnharmed, useTarget } from './target.ts'

/**
 * A member with an account at the registry, who may switch the visibility of a repository of its own, and wants a key of
 * its own to be trusted: its tokens would then open every repository. The registry is as Harbor: of a public repository
 * everybody is served, whatever bearer comes; of a private one the token decides.
 */
const target = useTarget()
const OWN = 'evil/own'
const TRIES = FAILED_GRANTS_BURST_MAX * 3

/** Puts the attacker's door before its own repository. @returns the blob there, and what takes the door away */
function ownRepository(door: Door) {
  const { registry } = target.cluster
  const blob = registry.add(randomBlob(5000).bytes, OWN)
  const honest = registry.door
  registry.door = (request, response) =>
    request.url!.startsWith(`/v2/${OWN}/`) ? door(request, response) : honest(request, response)
  const close = () => {
    registry.door = honest
  }
  return { blob, close }
}

/** For the attacker's repository and the victim's. */
function forged(signer: Signer): string {
  const access = [OWN, REPOSITORY].map((name) => ({ type: 'repository', name, actions: ['pull'] }))
  return signer.sign(pullClaims(OWN, { access }), { jwk: signer.publicJwk })
}

function honestToken(): string {
  const { credential } = target.cluster.request(target.blob)
  return credential.scheme === 'bearer' ? credential.token : ''
}

/** @returns `granted`, or the code of the refusal */
function ask(member: Member, repository: string, blob: TestBlob, token: string): Promise<string> {
  const { cluster } = target
  const request: typeof cluster.request = (it, changes) => ({
    ...cluster.request(it, changes),
    repository: repository as typeof REPOSITORY,
  })
  return member.pull({ ...cluster, request }, blob, token).then(
    () => 'granted',
    (error) => error.trackerCode ?? String(error),
  )
}

/** As a peer, with this certificate. */
function dialHolder(certificate: ReturnType<typeof mint>, token: string, signer: Pick<Signer, 'publicJwk'>) {
  const { member, holder, swarm } = target
  return attack({ node: holder, authorities: member.authorities, certificate, sni: swarm }, (line) => {
    line.sendHandshakes(swarm, member.node)
    const prover = prepareProver(token, signer.publicJwk)
    line.sendProof({ signingInput: prover.signingInput, proof: prover.prove(line.binding()) })
    line.ask()
  })
}

/** Even with a certificate that no tracker issued. */
async function expectHolderRefuses(token: string, signer: Signer): Promise<void> {
  const { cluster, member, blob } = target
  const claims = pullClaimsFor(cluster, member, blob, { token })
  const mark = target.logged.length
  expectNothingGiven(
    await dialHolder(mint(await stealAuthority(cluster, member.cluster), claims), token, signer),
  )
  await expectLogged(target, mark, 'PEER_REFUSED')
}

controlTest('the registry’s own token opens the layer: the attacks fail for the right reason', async () => {
  const token = honestToken()
  const { certificate } = await target.member.pull(target.cluster, target.blob, token)
  await dialHolder(certificate, token, target.cluster.signer)
})

attackTest('who switches the visibility of a repository, and tries on and on, plants no key', async () => {
  // Public or private at each request by chance: no switching by the clock comes closer to what the probe wants to see.
  const own = ownRepository((_, response) => {
    if (Math.random() < 0.5) response.writeHead(401).end()
    else response.writeHead(200, { 'content-length': own.blob.bytes.length }).end()
  })
  const signer = makeSigner('ES256')
  const mark = target.logged.length
  const asked = target.cluster.registry.requests.length
  const codes: string[] = []
  const race = async () => {
    while (codes.length < TRIES) codes.push(await ask(target.member, OWN, own.blob, forged(signer)))
  }
  await Promise.all([race(), race(), race(), race()])
  own.close()
  // A grant for the attacker's own repository may come, as the registry said at that moment. No key is trusted by it.
  // The race was run: probes were begun and failed, a few, and then the attacker had no failure left.
  const probes = target.logged.slice(mark).filter(({ msg }) => msg === 'token key probed')
  const failed = probes.filter(({ isTrusted }) => isTrusted === false)
  expect(failed.length).toBeGreaterThan(0)
  expect(failed).toHaveLength(probes.length)
  expect(failed.length).toBeLessThanOrEqual(FAILED_PROBES_PER_NODE_AND_DAY_MAX)
  expect(codes.slice(-10)).toEqual(Array(10).fill('REQUESTS_TOO_MANY'))
  expect(target.cluster.registry.requests.length - asked).toBeLessThan(FAILED_GRANTS_BURST_MAX * 6)
  expect(await ask(target.member, REPOSITORY, target.blob, forged(signer))).not.toBe('granted')
  await expectHolderRefuses(forged(signer), signer)
})

attackTest('who wins the race all the same has a key that opens nothing of others', async () => {
  const signer = makeSigner('ES256')
  // Whatever the probe asks is answered as if the attacker's key were the registry's.
  const own = ownRepository(async (request, response) => {
    const jwt = request.headers.authorization?.replace(/^Bearer /, '') ?? ''
    const isMine = await jwtVerify(jwt, signer.publicKey).catch(() => undefined)
    if (isMine === undefined) response.writeHead(401).end()
    else response.writeHead(200, { 'content-length': own.blob.bytes.length }).end()
  })
  // The first one has no failure left.
  const winner = await enrol(target.cluster)
  try {
    const token = forged(signer)
    expect(await ask(winner, OWN, own.blob, token)).toBe('granted')
    // That the blob is in the victim's repository is remembered; whether this token may read it is asked, and denied.
    const asked = target.cluster.registry.requests.length
    for (const attempt of [token, token, forged(signer)])
      expect(await ask(winner, REPOSITORY, target.blob, attempt)).toBe('REGISTRY_REFUSED')
    const shown = target.cluster.registry.requests.slice(asked).map(({ authorization }) => authorization)
    // Each time by HEAD, and the first time by GET too.
    expect(shown.filter((authorization) => authorization === `Bearer ${token}`)).toHaveLength(3)
    // Nor does it help to have seen an honest token's signing input, as peers do.
    const honest = honestToken()
    expect(await ask(winner, REPOSITORY, target.blob, honest)).toBe('granted')
    const borrowed = `${signingInputOf(honest)}.${token.slice(token.lastIndexOf('.') + 1)}`
    expect(await ask(winner, REPOSITORY, target.blob, borrowed)).toBe('TOKEN_SIGNATURE')
  } finally {
    own.close()
    await winner.tracker.close()
  }
})

expectUnharmed(target)
