import { X509Certificate } from 'node:crypto'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { createServer, type Server, type TLSSocket } from 'node:tls'
import { afterEach, expect } from 'vitest'
import { decodeProof, type ProofMessage } from '../../client/wire/extensions.ts'
import { FrameReader } from '../../client/wire/frame-reader.ts'
import { encodeHandshake } from '../../client/wire/handshake.ts'
import type { Message } from '../../client/wire/messages.ts'
import { claimsOf } from '../../core/certificate-claims.ts'
import type { KeyedCertificate } from '../../core/issue-certificate.ts'
import { nodeIdOf } from '../../core/metainfo.ts'
import { progressOf, pull, randomBlob } from '../pull/test-cluster.ts'
import {
  type AttackLine,
  attack,
  enrol,
  extensionHandshake,
  mint,
  proverFor,
  pullClaimsFor,
  stealAuthority,
  swarmOf,
} from './attacker.ts'
import { attackTest } from './ledger.ts'
import { expectLogged, expectNothingGiven, expectUnharmed, useTarget } from './target.ts'

/** Members who pretend to be another node, and a rogue holder who passes on what honest downloaders show it. */
const target = useTarget()
const servers: Server[] = []
let names = 0
const newName = () => `victim${++names}`
afterEach(() => {
  for (const server of servers.splice(0)) server.close()
})

const realToken = () => {
  const { credential } = target.cluster.request(target.blob)
  return credential.scheme === 'bearer' ? credential.token : ''
}

attackTest("a peer id that is not the certificate's node is refused", async () => {
  const { cluster, holder, member, blob, swarm } = target
  const holderNode = nodeIdOfHolder()
  for (const peer of [holderNode, nodeIdOf(Buffer.from('someone'))]) {
    const token = realToken()
    const { certificate } = await member.pull(cluster, blob, token)
    const mark = target.logged.length
    const line = await attack(
      { node: holder, authorities: member.authorities, certificate, sni: swarm },
      (line) => {
        line.sendHandshakes(swarm, peer)
        const prover = proverFor(cluster, token)
        line.sendProof({ signingInput: prover.signingInput, proof: prover.prove(line.binding()) })
        line.ask()
      },
    )
    expectNothingGiven(line)
    await expectLogged(target, mark, 'PEER_REFUSED')
  }
})

function nodeIdOfHolder() {
  const pem = readFileSync(join(target.holder.dataDir, 'node.pem'))
  return claimsOf(new X509Certificate(pem)).node
}

/** A seeder by its certificate, listed by the tracker, that accepts honest downloaders and keeps what they show. */
async function startRogueHolder(
  certificate: KeyedCertificate,
  onSocket: (socket: TLSSocket) => void,
): Promise<number> {
  const server = createServer(
    {
      cert: certificate.certificatePem,
      key: certificate.privateKeyPem,
      ca: target.member.authorities,
      requestCert: true,
      rejectUnauthorized: true,
      minVersion: 'TLSv1.3',
    },
    onSocket,
  )
  server.on('tlsClientError', () => undefined)
  servers.push(server)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return (server.address() as AddressInfo).port
}

attackTest('a proof that a downloader shows to a rogue holder opens nothing at another node', async () => {
  const { cluster, holder } = target
  const rogue = await enrol(cluster)
  // Large enough that the downloader still needs the rogue when it has reached it.
  const blob = cluster.registry.add(randomBlob(24 * 1024 * 1024).bytes)
  await pull(holder, cluster.request(blob))
  const swarm = swarmOf(rogue, cluster, blob)
  let relayed: Promise<AttackLine> | undefined
  const relay = async (message: ProofMessage) => {
    // The victim's claims but the rogue's key: the best that could be had if the tracker itself were deceived.
    const claims = pullClaimsFor(cluster, rogue, blob, { tokenHash: proofTokenHash(message) })
    const certificate = mint(await stealAuthority(cluster, rogue.cluster), claims)
    return attack({ node: holder, authorities: rogue.authorities, certificate, sni: swarm }, (line) => {
      line.sendHandshakes(swarm, rogue.node)
      line.sendProof(message)
      line.ask()
    })
  }
  const serving = await rogue.serve(9)
  const port = await startRogueHolder(serving, (socket) => {
    socket.on('error', () => undefined)
    socket.write(encodeHandshake({ swarm, peer: rogue.node, hasFast: true, hasExtensions: true }))
    socket.write(extensionHandshake())
    const reader = new FrameReader({
      onKeepAlive: () => undefined,
      onHandshake: () => undefined,
      onMessage: (message: Message) => {
        if (message.type === 'extended' && message.extension === 1)
          relayed ??= relay(decodeProof(message.payload))
      },
      onBlockStart: () => undefined,
      onBlockEnd: () => undefined,
    })
    socket.on('data', (chunk) => reader.push(chunk))
  })
  await rogue.tracker.heartbeat({
    listenPort: port,
    isFullInventory: true,
    holds: [{ swarm, isSeed: true }],
    dropped: [],
    wantsPeers: [],
    servePublicKey: null,
    badPeers: [],
    revocationsVersion: 0,
  })
  const mark = target.logged.length
  const victim = await cluster.addNode({ name: newName() })
  expect((await pull(victim, cluster.request(blob))).equals(blob.bytes)).toBe(true)
  await expect.poll(() => relayed).toBeDefined()
  expectNothingGiven(await relayed!)
  await expectLogged(target, mark, 'PEER_REFUSED')
  await victim.stop()
  await rogue.tracker.close()
})

function proofTokenHash(message: ProofMessage): string {
  const { member, cluster } = target
  return pullClaimsFor(cluster, member, target.blob, { token: `${message.signingInput}.x` }).tokenHash!
}

attackTest('a downloader hangs up on a node that is not the one that the tracker named', async () => {
  const { cluster, holder } = target
  const rogue = await enrol(cluster)
  const accomplice = await enrol(cluster)
  const blob = cluster.registry.add(randomBlob(target.blob.bytes.length).bytes)
  await pull(holder, cluster.request(blob))
  const swarm = swarmOf(rogue, cluster, blob)
  const shown: Buffer[] = []
  const port = await startRogueHolder(await accomplice.serve(9), (socket) => {
    socket.on('error', () => undefined)
    socket.on('data', (chunk) => shown.push(chunk))
  })
  await rogue.serve(port, [swarm])
  const victim = await cluster.addNode({ name: newName() })
  expect((await pull(victim, cluster.request(blob))).equals(blob.bytes)).toBe(true)
  expect(progressOf(victim, blob).bytesFromPeers).toBe(blob.bytes.length)
  expect(Buffer.concat(shown).length).toBe(0)
  await victim.stop()
  for (const member of [rogue, accomplice]) await member.tracker.close()
})

attackTest(
  'a downloader shows nothing to a node with a node certificate, or one of another cluster',
  async () => {
    const { cluster, holder } = target
    const { joinToken } = await cluster.newCluster()
    const foreigner = await enrol(cluster, joinToken)
    const rogue = await enrol(cluster)
    for (const certificate of [rogue.nodeCertificate, await rogue.link(), await foreigner.serve(9)]) {
      const blob = cluster.registry.add(randomBlob(target.blob.bytes.length).bytes)
      await pull(holder, cluster.request(blob))
      const shown: Buffer[] = []
      const port = await startRogueHolder(certificate, (socket) => {
        socket.on('error', () => undefined)
        socket.on('data', (chunk) => shown.push(chunk))
      })
      await rogue.serve(port, [swarmOf(rogue, cluster, blob)])
      const victim = await cluster.addNode({ name: newName() })
      expect((await pull(victim, cluster.request(blob))).equals(blob.bytes)).toBe(true)
      expect(Buffer.concat(shown).length).toBe(0)
      expect(new X509Certificate(certificate.certificatePem).subject).not.toBe('')
      await victim.stop()
    }
    for (const member of [rogue, foreigner]) await member.tracker.close()
  },
)

expectUnharmed(target)
