import { createPublicKey, type KeyObject, randomBytes } from 'node:crypto'
import { expect } from 'vitest'
import { decodeHashBatch, EXTENSION_IDS, encodeHashBatch } from '../../client/wire/extensions.ts'
import { encodeMessage } from '../../client/wire/messages.ts'
import { batchKeyFromRaw, isHashBatchSigned, signHashBatch } from '../../core/hash-batch.ts'
import type { KeyedCertificate } from '../../core/issue-certificate.ts'
import { PIECE_HASH_BYTES, type SwarmId } from '../../core/metainfo.ts'
import { mintPeerToken } from '../../core/peer-token.ts'
import { prepareProver } from '../../core/token-proof/index.ts'
import type { Cluster } from '../../tracker/authority/cluster.ts'
import { REPOSITORY } from '../core/test-registry.ts'
import { pull, randomBlob } from '../pull/test-cluster.ts'
import {
  AttackLine,
  attack,
  mint,
  pullClaimsFor,
  spkiOf,
  stealAuthority,
  swarmOf,
  tokenHashOf,
} from './attacker.ts'
import { attackTest, controlTest } from './ledger.ts'
import { loot } from './loot.ts'
import { expectLogged, expectNothingGiven, expectUnharmed, useTarget } from './target.ts'

/**
 * Somebody has the cluster's key for piece hashes and peer tokens; the operator changes the key, and withdraws the old
 * one. What the thief signs with it must count nowhere, nor may what was signed with it before.
 */
const OPAQUE = 'opaque_1c2d3e4f5a6b'
const target = useTarget({ opaqueToken: OPAQUE })

/** Three missed heartbeats of a second, and one for the nodes to renew. */
const SETTLED_MS = 4500
const PIECES = 64
const PIECE_BYTES = 256 * 1024
const LAST_PIECES = 8
/** Slow enough that the last pieces are not there when the attack is over. */
const CHUNK_PAUSE_MS = 300
const sleep = (forMs: number) => new Promise((resolve) => setTimeout(resolve, forMs))
const path = () => `/admin/v1/clusters/${target.member.cluster}/signing-keys`

let stolen: Cluster
/** A pull that was granted before the change: its peer token is the tracker's own, of the old key. */
let earlier: { certificate: KeyedCertificate; token: string }
let victims = 0

/** A pull certificate, and a peer token for its key that the stolen key signed. */
function forge(): { certificate: KeyedCertificate; token: string } {
  const { cluster, member, blob } = target
  const { registry } = cluster.request(blob)
  const own = mint(stolen, pullClaimsFor(cluster, member, blob, { tokenHash: '0'.repeat(64) }))
  const spki = spkiOf(own)
  const token = mintPeerToken(stolen.signingKey.peerTokenKey, {
    ...{ cluster: member.cluster, registry, repository: REPOSITORY, spki },
    nowMs: Date.now(),
  })
  const { certificate } = stolen.authorities[0]!.issue({
    claims: pullClaimsFor(cluster, member, blob, { tokenHash: tokenHashOf(token) }),
    ...{ spki, nowMs: Date.now(), validForSeconds: 600 },
  })
  return { certificate: { certificatePem: certificate, privateKeyPem: own.privateKeyPem }, token }
}

const dial = (certificate: KeyedCertificate) => ({
  ...{ node: target.holder, authorities: target.member.authorities, certificate, sni: target.swarm },
})
function prove(line: AttackLine, token: string, key: KeyObject): void {
  line.sendHandshakes(target.swarm, target.member.node)
  const prover = prepareProver(token, createPublicKey(key).export({ format: 'jwk' }))
  line.sendProof({ signingInput: prover.signingInput, proof: prover.prove(line.binding()) })
}

/** A node that waits for a slow registry, and a member of the blob's swarm that tells it hashes of its own. */
async function tellLies(): Promise<number> {
  const { cluster, member } = target
  const blob = cluster.registry.add(randomBlob(PIECES * PIECE_BYTES).bytes)
  cluster.registry.chunkPauseMs = CHUNK_PAUSE_MS
  const node = await cluster.addNode({ name: `misled${++victims}` })
  const pulling = pull(node, cluster.request(blob)).catch(() => undefined)
  await expect.poll(() => node.client.progress().length, { timeout: 5000 }).toBe(1)
  const { certificate } = await member.pull(cluster, blob)
  const swarm = swarmOf(member, cluster, blob)
  const line = await attack(
    { node, authorities: member.authorities, certificate, sni: swarm },
    (line) => {
      line.sendHandshakes(swarm, member.node)
      line.send(lie(swarm), encodeMessage({ type: 'have-all' }), encodeMessage({ type: 'unchoke' }))
    },
    1500,
  )
  await node.stop()
  cluster.registry.chunkPauseMs = 0
  await pulling
  return believedBytes(line)
}

function lie(swarm: SwarmId): Buffer {
  const batch = signHashBatch(stolen.signingKey.batchKey, target.member.cluster, {
    ...{ swarm, epoch: 0, status: 'confirmed' as const, firstPiece: PIECES - LAST_PIECES },
    hashes: randomBytes(LAST_PIECES * PIECE_HASH_BYTES),
  })
  return encodeMessage({
    type: 'extended',
    extension: EXTENSION_IDS.shoal_hashes,
    payload: encodeHashBatch(batch),
  })
}

/** What a node asks for is what it would take under the liar's hashes. */
function believedBytes({ messages }: AttackLine): number {
  let bytes = 0
  for (const message of messages)
    if (message.type === 'request' && message.piece >= PIECES - LAST_PIECES) bytes += message.length
  loot.bytes += bytes
  return bytes
}

controlTest(
  'before the change a node asks for pieces under hashes that the stolen key signed: so that is what is at stake',
  async () => {
    stolen = await stealAuthority(target.cluster, target.member.cluster)
    const { answer, certificate } = await target.member.pull(target.cluster, target.blob)
    earlier = { certificate, token: answer.peerToken! }
    expect(await tellLies()).toBeGreaterThan(0)
  },
)

attackTest(
  'a connection on a peer token of the old key ends with the key, before it was given anything',
  async () => {
    const { cluster } = target
    expect((await cluster.admin(path(), {})).status).toBe(201)
    await sleep(SETTLED_MS)
    const { certificate, token } = forge()
    // While both are trusted it would be served: that is what makes the change no outage.
    const line = new AttackLine(dial(certificate))
    expect(await line.ready).toBe(true)
    prove(line, token, stolen.signingKey.peerTokenKey)
    await expect
      .poll(() => line.messages.some(({ type }) => type !== 'extended'), { timeout: 5000 })
      .toBe(true)
    expect((await cluster.admin(`${path()}/withdrawal`, { isForced: true })).status).toBe(200)
    await Promise.race([line.closed, sleep(5000)])
    expect(line.socket.destroyed).toBe(true)
    expect(line.blockBytes).toBe(0)
  },
)

for (const what of ['that the thief makes', "of the attacker's own earlier pull"] as const) {
  attackTest(`a peer token of the withdrawn key, ${what}, opens no node`, async () => {
    const { certificate, token } = what === 'that the thief makes' ? forge() : earlier
    const mark = target.logged.length
    const line = await attack(dial(certificate), (line) => {
      prove(line, token, stolen.signingKey.peerTokenKey)
      line.ask()
    })
    expectNothingGiven(line)
    await expectLogged(target, mark, 'PEER_REFUSED')
  })
}

attackTest('hashes that the withdrawn key signed are believed by nobody', async () => {
  expect(await tellLies()).toBe(0)
})

controlTest('who pulls now is served, with hashes that the next key has signed', async () => {
  const { cluster, member, blob } = target
  const { answer, certificate } = await member.pull(cluster, blob)
  expect(answer.trust.batchKeys).not.toContain(stolen.signingKey.batchKeyPublic)
  const now = await stealAuthority(cluster, member.cluster)
  // The first one to come has the holder ask for them.
  for (const isFirst of [true, false]) {
    const line = await attack(dial(certificate), (line) => {
      prove(line, answer.peerToken!, now.signingKey.peerTokenKey)
      line.ask()
    })
    expect(line.blockBytes).toBe(4 * 16384)
    if (isFirst) continue
    const batches = hashesIn(line, target.swarm)
    expect(batches.length).toBeGreaterThan(0)
    const keys = answer.trust.batchKeys.map(batchKeyFromRaw)
    for (const batch of batches) expect(isHashBatchSigned(keys, member.cluster, batch)).toBe(true)
  }
})

function hashesIn({ messages }: AttackLine, swarm: SwarmId) {
  return messages.flatMap((message) =>
    message.type === 'extended' && message.extension === EXTENSION_IDS.shoal_hashes
      ? [decodeHashBatch(message.payload, swarm)]
      : [],
  )
}

expectUnharmed(target)
