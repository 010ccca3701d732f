import { createHash, createPrivateKey, createPublicKey, randomBytes, type X509Certificate } from 'node:crypto'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { type ConnectionOptions, connect, type TLSSocket } from 'node:tls'
import { makeKey } from '../../client/membership/node-identity.ts'
import type { TrackerClient } from '../../client/membership/tracker-client.ts'
import { encodeExtensionHandshake, encodeProof, type ProofMessage } from '../../client/wire/extensions.ts'
import { FrameReader } from '../../client/wire/frame-reader.ts'
import { encodeHandshake, type Handshake } from '../../client/wire/handshake.ts'
import { type BlockAddress, encodeMessage, type Message } from '../../client/wire/messages.ts'
import type { CertificateClaims, PullClaims } from '../../core/certificate-claims.ts'
import type { KeyedCertificate } from '../../core/issue-certificate.ts'
import type { NodeLocation } from '../../core/location.ts'
import { type ClusterId, type NodeId, type SwarmId, swarmIdOf } from '../../core/metainfo.ts'
import { type ProofBinding, prepareProver, type TokenProver } from '../../core/token-proof/index.ts'
import type { PullResponse } from '../../core/tracker-api.ts'
import { WIRE_VERSION_FIRST, WIRE_VERSION_LINKS } from '../../core/wire-version.ts'
import type { Cluster } from '../../tracker/authority/cluster.ts'
import { Clusters } from '../../tracker/authority/clusters.ts'
import { openSealer } from '../../tracker/authority/sealer.ts'
import { SqliteStore } from '../../tracker/store/sqlite-store.ts'
import { unwatchedTracker } from '../client/membership/unwatched-tracker.ts'
import { signingInputOf } from '../core/signed-tokens.ts'
import type { TestBlob, TestCluster, TestNode } from '../pull/test-cluster.ts'
import { loot } from './loot.ts'

/** Attackers: they speak the peer protocol with Shoal's own encoders, over their own sockets, and count what they get. */

/** What attackers need to know of a cluster, in one process or in many. */
export type AttackedCluster = Pick<
  TestCluster,
  'request' | 'signer' | 'folder' | 'nodeOptions' | 'newCluster' | 'admin'
>

/** The attacker's own trust: it must finish TLS handshakes, and verifies nothing else about whom it robs. */
interface TrackerAccess {
  trackerUrl: string
  trackerCaPem: string
  joinToken: string
}

/** Someone who has really joined a cluster: a node key, its certificate, and a connection to the tracker. */
export interface Member {
  tracker: TrackerClient
  node: NodeId
  cluster: ClusterId
  nodeCertificate: KeyedCertificate
  authorities: string[]
  /** A real grant, with the real pull certificate. */
  pull(
    cluster: AttackedCluster,
    blob: TestBlob,
    token?: string,
  ): Promise<{ answer: PullResponse; certificate: KeyedCertificate }>
  /** A real serve certificate, through a heartbeat that says that `swarms` are held at `listenPort`. */
  serve(
    listenPort: number,
    swarms?: SwarmId[],
    wire?: number,
    location?: NodeLocation,
  ): Promise<KeyedCertificate>
  /** A real link certificate, which comes with a join. */
  link(): Promise<KeyedCertificate>
}

/** What a member must know of its surroundings; a lab can say it too. */
export type Surroundings = Pick<TestCluster, 'nodeOptions' | 'request'>

export async function enrol(cluster: Surroundings, joinToken?: string): Promise<Member> {
  const access = cluster.nodeOptions('attacker') as TrackerAccess
  const tracker = unwatchedTracker(access)
  const key = makeKey()
  const joined = await tracker.join({
    joinToken: joinToken ?? access.joinToken,
    publicKey: key.spki.toString('base64url'),
  })
  const nodeCertificate = { certificatePem: joined.certificate, privateKeyPem: key.privateKeyPem }
  tracker.identify(nodeCertificate)
  return {
    tracker,
    nodeCertificate,
    node: joined.node,
    cluster: joined.cluster,
    authorities: joined.authorities,
    async pull(cluster, blob, token) {
      const pullKey = makeKey()
      const { registry, repository, credential } = cluster.request(blob)
      const answer = await tracker.pull(
        {
          registry,
          repository,
          credential: token === undefined ? credential : { scheme: 'bearer', token },
          publicKey: pullKey.spki.toString('base64url'),
          listenPort: 9,
          blobs: [{ digest: blob.digest, bytes: blob.bytes.length, isWanted: false }],
        },
        10_000,
      )
      return {
        answer,
        certificate: { certificatePem: answer.certificate, privateKeyPem: pullKey.privateKeyPem },
      }
    },
    async serve(listenPort, swarms = [], wire = WIRE_VERSION_FIRST, location = undefined) {
      const serveKey = makeKey()
      const answer = await tracker.heartbeat({
        listenPort,
        isFullInventory: true,
        holds: swarms.map((swarm) => ({ swarm, isSeed: true })),
        dropped: [],
        wantsPeers: [],
        servePublicKey: serveKey.spki.toString('base64url'),
        wire,
        badPeers: [],
        revocationsVersion: 0,
        ...(location && { location }),
      })
      return { certificatePem: answer.serveCertificate!.certificate, privateKeyPem: serveKey.privateKeyPem }
    },
    async link() {
      const publicKey = key.spki.toString('base64url')
      const { linkCertificate } = await tracker.join({ publicKey, wire: WIRE_VERSION_LINKS })
      return { certificatePem: linkCertificate!.certificate, privateKeyPem: key.privateKeyPem }
    },
  }
}

/** The cluster's authority itself, out of the tracker's sealed store: for certificates that no honest tracker issues. */
export async function stealAuthority(cluster: AttackedCluster, id: ClusterId): Promise<Cluster> {
  const store = new SqliteStore(join(cluster.folder, 'tracker', 'tracker.sqlite'))
  try {
    const sealer = await openSealer(store, readFileSync(join(cluster.folder, 'unlock'), 'utf8').trim())
    const clock = { nowMs: Date.now, settleMs: 0 }
    return (await Clusters.load(store, sealer, clock)).get(id)
  } finally {
    store.close()
  }
}

/** What the operator does against a node: a revocation through the admin API. */
export async function revoke(cluster: AttackedCluster, { cluster: id, node }: Member): Promise<void> {
  const { status } = await cluster.admin('/admin/v1/revocations', { cluster: id, node })
  if (status !== 201) throw new Error(`revocation answered ${status}`)
}

/** A certificate with any claims, signed by the cluster's real authority. */
export function mint(authority: Cluster, claims: CertificateClaims, validForSeconds = 600): KeyedCertificate {
  const key = makeKey()
  const { certificate } = authority.authorities[0]!.issue({
    claims,
    spki: key.spki,
    nowMs: Date.now(),
    validForSeconds,
  })
  return { certificatePem: certificate, privateKeyPem: key.privateKeyPem }
}

/** SubjectPublicKeyInfo (DER) of a certificate's key. */
export const spkiOf = ({ privateKeyPem }: KeyedCertificate): Buffer =>
  createPublicKey(createPrivateKey(privateKeyPem)).export({ type: 'spki', format: 'der' })

/** Claims as the tracker would write them for this member, blob and token; what is wrong with them goes in `changes`. */
export function pullClaimsFor(
  cluster: AttackedCluster,
  member: Member,
  blob: TestBlob,
  changes: Partial<PullClaims> & { token?: string } = {},
): PullClaims {
  const { registry, repository } = cluster.request(blob)
  const { token, ...claims } = changes
  return {
    kind: 'pull',
    cluster: member.cluster,
    node: member.node,
    pullId: randomBytes(16).toString('hex'),
    registry,
    repository,
    grantedAtSeconds: Math.floor(Date.now() / 1000),
    blobs: [blob.digest],
    ...(token === undefined ? {} : { tokenHash: tokenHashOf(token) }),
    ...claims,
  }
}

export const tokenHashOf = (token: string) => createHash('sha256').update(signingInputOf(token)).digest('hex')

export function swarmOf(member: Member, cluster: Surroundings, blob: TestBlob): SwarmId {
  const { registry } = cluster.request(blob)
  return swarmIdOf({ cluster: member.cluster, registry, digest: blob.digest, bytes: blob.bytes.length })
}

export interface DialOptions {
  node: { client: Pick<TestNode['client'], 'peerAddress'> }
  authorities: readonly string[]
  certificate?: KeyedCertificate
  sni?: string
  tls?: ConnectionOptions
}

/** One connection of an attacker. What it gets is counted from the first byte. */
export class AttackLine {
  readonly socket: TLSSocket
  readonly messages: Message[] = []
  readonly handshakes: Handshake[] = []
  /** Decrypted bytes of any kind. */
  receivedBytes = 0
  /** Bytes of blobs, as announced by `piece` frames. */
  blockBytes = 0
  error: Error | undefined
  #remoteCertificate: X509Certificate | undefined
  readonly closed: Promise<void>
  /** TLS is through. */
  readonly ready: Promise<boolean>

  constructor(options: DialOptions) {
    const { host, port } = options.node.client.peerAddress
    const credential = options.certificate && {
      cert: options.certificate.certificatePem,
      key: options.certificate.privateKeyPem,
    }
    this.socket = connect({
      host,
      port,
      ...(options.sni === undefined ? {} : { servername: options.sni }),
      ...credential,
      ca: [...options.authorities],
      checkServerIdentity: () => undefined,
      ...options.tls,
    })
    const reader = new FrameReader({
      onKeepAlive: () => undefined,
      onHandshake: (handshake) => void this.handshakes.push(handshake),
      onMessage: (message) => void this.messages.push(message),
      onBlockStart: ({ length }) => {
        this.blockBytes += length
        loot.bytes += length
        return undefined
      },
      onBlockEnd: () => undefined,
    })
    this.socket.on('data', (chunk: Buffer) => {
      this.receivedBytes += chunk.length
      reader.push(chunk)
    })
    this.socket.on('error', (error) => {
      this.error = error
    })
    this.closed = once(this.socket, 'close').then(
      () => undefined,
      () => undefined,
    )
    this.ready = Promise.race([
      once(this.socket, 'secureConnect').then(
        () => true,
        () => false,
      ),
      this.closed.then(() => false),
    ])
  }

  send(...parts: (Uint8Array | Exclude<Message, { type: 'unknown' }>)[]): void {
    if (this.socket.destroyed) return
    this.socket.write(
      Buffer.concat(parts.map((part) => (part instanceof Uint8Array ? part : encodeMessage(part)))),
    )
  }

  sendHandshakes(swarm: SwarmId, peer: NodeId): void {
    this.send(encodeHandshake({ swarm, peer, hasFast: true, hasExtensions: true }), extensionHandshake())
  }

  binding(changes: Partial<ProofBinding> = {}): ProofBinding {
    // Node tells a client its peer's certificate once only.
    this.#remoteCertificate ??= this.socket.getPeerX509Certificate()!
    return {
      role: 'dialler',
      exporter: exporterOf(this.socket),
      proverCertificate: fingerprint(this.socket.getX509Certificate()!),
      verifierCertificate: fingerprint(this.#remoteCertificate),
      ...changes,
    }
  }

  sendProof(message: ProofMessage): void {
    this.send({ type: 'extended', extension: 1, payload: encodeProof(message) })
  }

  /** Asks for the first blocks of the blob, whatever it may. */
  ask(blocks = 4): void {
    for (let at = 0; at < blocks; at++) this.send({ type: 'request', ...firstBlock(at) })
  }

  destroy(): void {
    this.socket.destroy()
  }

  /** This was no attacker but a control: what it got was its due. */
  forget(): void {
    loot.bytes -= this.blockBytes
    this.blockBytes = 0
  }
}

const firstBlock = (at: number): BlockAddress => ({ piece: 0, begin: at * 16384, length: 16384 })

const exporterOf = (socket: TLSSocket) =>
  socket.exportKeyingMaterial(32, 'EXPORTER-shoal-token-proof-v1', Buffer.alloc(0))

export function extensionHandshake(): Buffer {
  const payload = encodeExtensionHandshake({
    requestsQueuedMax: 256,
    blockBytesMax: 128 * 1024,
    isUploadOnly: false,
    version: 'attacker',
  })
  return encodeMessage({ type: 'extended', extension: 0, payload })
}

export const fingerprint = (certificate: X509Certificate) =>
  createHash('sha256').update(certificate.raw).digest()

export function proverFor(cluster: AttackedCluster, token: string): TokenProver {
  return prepareProver(token, cluster.signer.publicJwk)
}

/** Dials, does `act` once TLS is through, and goes on until the other side hangs up or `patienceMs` are over. */
export async function attack(
  options: DialOptions,
  act: (line: AttackLine) => void,
  patienceMs = 700,
): Promise<AttackLine> {
  const line = new AttackLine(options)
  if (await line.ready) act(line)
  await Promise.race([line.closed, new Promise((resolve) => setTimeout(resolve, patienceMs))])
  line.destroy()
  await line.closed
  return line
}
