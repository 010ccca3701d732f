import { createPrivateKey, randomBytes, sign } from 'node:crypto'
import { beforeAll, expect } from 'vitest'
import { LINK_PULLS_MAX } from '../../client/peer/open-pulls.ts'
import { pullStatementBytes } from '../../client/peer/pull-statement.ts'
import type { PullOpening } from '../../client/wire/link-messages.ts'
import { encodeMessage } from '../../client/wire/messages.ts'
import { linkNameOf } from '../../core/certificate-claims.ts'
import type { KeyedCertificate } from '../../core/issue-certificate.ts'
import type { SwarmId } from '../../core/metainfo.ts'
import { pull as pullBlob, randomBlob, type TestBlob } from '../pull/test-cluster.ts'
import { enrol, type Member, mint, proverFor, pullClaimsFor, stealAuthority } from './attacker.ts'
import { attackTest, controlTest } from './ledger.ts'
import { attackLink, type LinkDial, type LinkLine } from './link-attacker.ts'
import { expectLogged, expectUnharmed, useTarget } from './target.ts'

/** Members who dial links, with pulls of others, of other blobs, of other connections, or none. */
const target = useTarget()
let other: TestBlob
/** A member has one, as its joins are limited. */
const linkCertificates = new Map<Member, Promise<KeyedCertificate>>()

beforeAll(async () => {
  other = target.cluster.registry.add(randomBlob(300_000).bytes)
  await pullBlob(target.holder, target.cluster.request(other))
})

const token = (blob = target.blob) => {
  const { credential } = target.cluster.request(blob)
  return credential.scheme === 'bearer' ? credential.token : ''
}

async function dial(member: Member = target.member, changes: Partial<LinkDial> = {}): Promise<LinkDial> {
  const certificate = linkCertificates.get(member) ?? member.link()
  linkCertificates.set(member, certificate)
  return {
    port: target.holder.client.peerAddress.port,
    holder: target.holder.client.status().joined!.node as LinkDial['holder'],
    authorities: member.authorities,
    certificate: await certificate,
    member,
    ...changes,
  }
}

/** A real pull with the prover of its token. */
async function realPull(member = target.member, blob = target.blob) {
  const jwt = token(blob)
  const { certificate, answer } = await member.pull(target.cluster, blob, jwt)
  return { certificate, prover: proverFor(target.cluster, jwt), pull: answer.pull }
}

function expectNothing(line: LinkLine): void {
  expect(line.given).toEqual([])
  expect(line.blockBytes).toBe(0)
}

async function expectEnded(act: (line: LinkLine) => unknown, code: string, changes = {}): Promise<void> {
  const mark = target.logged.length
  const line = await attackLink(await dial(target.member, changes), act, 3000)
  expectNothing(line)
  await expectLogged(target, mark, code)
}

controlTest('a member with a pull of its own is served what the pull names', async () => {
  const { certificate, prover } = await realPull()
  const line = await attackLink(await dial(), (line) => {
    line.sendHandshakes()
    line.sendPull(line.opening(certificate, prover))
    line.ask(target.swarm)
  })
  expect(line.blockBytes).toBeGreaterThan(0)
})

attackTest(
  'a pull for one blob opens no other, and the answer does not say whether it is there',
  async () => {
    const { certificate, prover } = await realPull(target.member, other)
    const missing = 'e'.repeat(40) as SwarmId
    const line = await attackLink(await dial(), (line) => {
      line.sendHandshakes()
      line.sendPull(line.opening(certificate, prover))
      line.ask(target.swarm, 1)
      line.ask(missing, 3)
    })
    expectNothing(line)
    expect(line.closedNumbers).toEqual([1, 3])
  },
)

attackTest('a swarm asked for without a pull, and requests under no number, get nothing', async () => {
  const line = await attackLink(await dial(), (line) => {
    line.sendHandshakes()
    line.ask(target.swarm)
  })
  expectNothing(line)
  expect(line.closedNumbers).toEqual([1])
  await expectEnded((line) => {
    line.sendHandshakes()
    line.send({ type: 'request', piece: 0, begin: 0, length: 16384 }, 5)
  }, 'PEER_PROTOCOL')
})

/** A victim opens its pull at the holder, which remembers the proof from then on. @returns what the attacker was shown */
async function shownPull(): Promise<{ opening: PullOpening; victim: Member; certificate: KeyedCertificate }> {
  const victim = await enrol(target.cluster)
  const { certificate, prover } = await realPull(victim)
  let opening: PullOpening | undefined
  const line = await attackLink(await dial(victim), (line) => {
    line.sendHandshakes()
    opening = line.opening(certificate, prover)
    line.sendPull(opening)
    line.ask(target.swarm)
  })
  expect(line.blockBytes).toBeGreaterThan(0)
  line.forget()
  return { opening: opening!, victim, certificate }
}

attackTest(
  'whoever was shown a pull is served nothing under it by a holder that remembers its proof',
  async () => {
    const { opening, victim } = await shownPull()
    await expectEnded((line) => {
      line.sendHandshakes()
      line.sendPull(opening)
      line.ask(target.swarm)
    }, 'PEER_REFUSED')
    await victim.tracker.close()
  },
)

attackTest('a pull that was opened on one link opens nothing on the next one of the same node', async () => {
  const { opening, victim } = await shownPull()
  const mark = target.logged.length
  const line = await attackLink(await dial(victim), (line) => {
    line.sendHandshakes()
    line.sendPull(opening)
    line.ask(target.swarm)
  })
  expectNothing(line)
  await expectLogged(target, mark, 'PEER_REFUSED')
  await victim.tracker.close()
})

attackTest(
  'a signature of another key, for the other role, or for another holder opens nothing',
  async () => {
    const { certificate, prover } = await realPull()
    const stranger = await realPull()
    for (const change of ['key', 'role', 'holder'] as const)
      await expectEnded((line) => {
        line.sendHandshakes()
        const statement = line.statement(certificate)
        const bytes = pullStatementBytes({
          ...statement,
          ...(change === 'role' && { role: 'acceptor' as const }),
          ...(change === 'holder' && { holderCertificate: randomBytes(32) }),
        })
        const key = change === 'key' ? stranger.certificate : certificate
        const signature = sign('sha256', bytes, createPrivateKey(key.privateKeyPem))
        line.sendPull({ ...line.opening(certificate, prover), signature })
        line.ask(target.swarm)
      }, 'PEER_REFUSED')
  },
)

attackTest('a pull without a proof, and one with a proof of another token, open nothing', async () => {
  const { certificate, pull } = await realPull()
  const line = await attackLink(await dial(), (line) => {
    line.sendHandshakes()
    line.sendPull(line.opening(certificate, undefined))
    line.ask(target.swarm)
  })
  expectNothing(line)
  expect(line.refusedPulls).toEqual([pull])
  await expectEnded((line) => {
    line.sendHandshakes()
    line.sendPull(line.opening(certificate, proverFor(target.cluster, token())))
    line.ask(target.swarm)
  }, 'PEER_REFUSED')
})

attackTest('a renewal under another key, or of another repository, needs a proof of its own', async () => {
  const { certificate, prover, pull } = await realPull(target.member, other)
  const authority = await stealAuthority(target.cluster, target.member.cluster)
  const claims = pullClaimsFor(target.cluster, target.member, target.blob, { pullId: pull, token: token() })
  const forged = mint(authority, claims)
  const line = await attackLink(await dial(), (line) => {
    line.sendHandshakes()
    line.sendPull(line.opening(certificate, prover))
    line.sendPull(line.opening(forged, undefined))
    line.ask(target.swarm)
  })
  expectNothing(line)
  expect(line.refusedPulls).toEqual([pull])
})

for (const kind of ['node', 'serve', 'pull'] as const) {
  attackTest(`a ${kind} certificate dials no link`, async () => {
    const { member } = target
    const of = {
      node: async () => member.nodeCertificate,
      serve: () => member.serve(9),
      pull: async () => (await realPull()).certificate,
    }
    const { prover, certificate } = await realPull()
    await expectEnded(
      (line) => {
        line.sendHandshakes()
        line.sendPull(line.opening(certificate, prover))
        line.ask(target.swarm)
      },
      kind === 'serve' ? 'PEER_REFUSED' : 'CERTIFICATE_CLAIMS',
      { certificate: await of[kind]() },
    )
  })
}

attackTest(
  'a link certificate of another node, or for another key than the node’s, opens no link',
  async () => {
    const authority = await stealAuthority(target.cluster, target.member.cluster)
    const { cluster, node } = target.member
    const forged = mint(authority, { kind: 'link', cluster, node })
    await expectEnded((line) => line.sendHandshakes(), 'CERTIFICATE_CLAIMS', { certificate: forged })
  },
)

attackTest('a name of another node in TLS, or in the handshake, opens no link', async () => {
  await expectEnded(() => undefined, 'PEER_REFUSED', { sni: linkNameOf(target.member.node) })
  await expectEnded((line) => line.sendHandshakes(), 'PEER_PROTOCOL', {
    holder: target.member.node,
    sni: await name(),
  })
})

const name = async () => linkNameOf((await dial()).holder)

for (const [what, bytes, code] of [
  ['a message that names no swarm', Buffer.from([0, 0, 0, 1, 1]), 'PEER_PROTOCOL'],
  [
    'a pull that is no bencoding',
    encodeMessage({ type: 'extended', extension: 1, payload: Buffer.from('d') }, 0),
    'PEER_PROTOCOL',
  ],
  [
    'a pull whose certificate is none',
    encodeMessage(
      { type: 'extended', extension: 1, payload: Buffer.from('d11:certificate1:x9:signature1:ye') },
      0,
    ),
    'PEER_REFUSED',
  ],
  [
    'a swarm under an even number',
    encodeMessage(
      { type: 'extended', extension: 2, payload: Buffer.from(`d6:numberi2e5:swarm20:${'a'.repeat(20)}e`) },
      0,
    ),
    'PEER_PROTOCOL',
  ],
  [
    'a swarm under the number of the link',
    encodeMessage(
      { type: 'extended', extension: 2, payload: Buffer.from(`d6:numberi0e5:swarm20:${'a'.repeat(20)}e`) },
      0,
    ),
    'PEER_PROTOCOL',
  ],
] as const)
  attackTest(`${what} ends the link`, () =>
    expectEnded((line) => {
      line.sendHandshakes()
      line.sendBytes(bytes)
    }, code),
  )

attackTest('a number that is used twice ends the link', () =>
  expectEnded((line) => {
    line.sendHandshakes()
    line.ask(target.swarm, 3)
    line.ask(target.swarm, 3)
  }, 'PEER_PROTOCOL'),
)

for (const [what, send] of [
  [
    'openings of swarms',
    (line: LinkLine, at: number) => line.sendSwarm({ type: 'open', number: 2 * at + 1, swarm: target.swarm }),
  ],
  ['closings', (line: LinkLine) => line.sendSwarm({ type: 'closed', number: 1 })],
  ['closings of pulls', (line: LinkLine) => line.sendPull({ type: 'closed', pull: 'x' })],
  ['keep-alives', (line: LinkLine) => line.sendBytes(Buffer.alloc(4))],
] as const)
  attackTest(`ten thousand ${what} end the link`, () =>
    expectEnded((line) => {
      line.sendHandshakes()
      for (let at = 0; at < 10_000; at++) send(line, at)
    }, 'PEER_PROTOCOL'),
  )

attackTest('more pulls at once than a link may have end it', async () => {
  const { certificate, prover } = await realPull()
  const authority = await stealAuthority(target.cluster, target.member.cluster)
  await expectEnded((line) => {
    line.sendHandshakes()
    const real = line.opening(certificate, prover)
    // Each is well signed, bound to a token that nobody can prove, and waits for its turn.
    for (let at = 0; at < 2 * LINK_PULLS_MAX; at++) {
      const claims = pullClaimsFor(target.cluster, target.member, target.blob, { token: token() })
      const minted = mint(authority, claims)
      line.sendPull({ ...line.opening(minted, undefined), proof: real.proof })
    }
  }, 'PEER_REFUSED')
})

expectUnharmed(target)
