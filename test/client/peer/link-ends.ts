import { X509Certificate } from 'node:crypto'
import pino from 'pino'
import type { SourceLimits } from '../../../client/engine/source.ts'
import type { Admission } from '../../../client/membership/admission.ts'
import { ClusterTrustState, type PeerCredential } from '../../../client/membership/cluster-trust.ts'
import type { Grant } from '../../../client/membership/grant.ts'
import { makeKey } from '../../../client/membership/node-identity.ts'
import type { ServedLink, SharedHost, SourceLink, SwarmLink } from '../../../client/peer/link-host.ts'
import { NodeLinks } from '../../../client/peer/node-links.ts'
import { ACCEPTED_MAX, PeerListener } from '../../../client/peer/peer-listener.ts'
import { SendBuffers } from '../../../client/peer/send-buffers.ts'
import { Bitfield } from '../../../client/store/bitfield.ts'
import type { BlockAddress } from '../../../client/wire/messages.ts'
import { type CertificateClaims, claimsToNames, type PullClaims } from '../../../core/certificate-claims.ts'
import type { Defects } from '../../../core/defects.ts'
import { digestFromHex } from '../../../core/digest.ts'
import type { ShoalError } from '../../../core/errors.ts'
import { issueLeaf, type KeyedCertificate, makeAuthority } from '../../../core/issue-certificate.ts'
import {
  allPieces,
  type ClusterId,
  type NodeId,
  nodeIdOf,
  type PieceIndex,
  pieceLayout,
  type SwarmId,
} from '../../../core/metainfo.ts'
import { signingInputHash } from '../../../core/registry-token.ts'
import { parseRegistryHost, parseRepository } from '../../../core/repository.ts'
import type { TokenKeys } from '../../../core/token-keys.ts'
import type { Peer } from '../../../core/tracker-api.ts'
import { noteDefects } from '../../core/noted-defects.ts'

/** Two nodes with links over real sockets; what they hold and who may have it, the test says. */

export const CLUSTER = `c${'0'.repeat(16)}` as ClusterId
export const REGISTRY = parseRegistryHost('registry.example')
const BLOB_BYTES = 512 * 1024
let authority: KeyedCertificate | undefined

export async function authorityOfCluster(): Promise<KeyedCertificate> {
  authority ??= await makeAuthority({ commonName: 'cluster', validForSeconds: 600 })
  return authority
}

export async function issue(
  claims: CertificateClaims,
  options: { validForSeconds?: number; key?: ReturnType<typeof makeKey>; issuer?: KeyedCertificate } = {},
): Promise<KeyedCertificate> {
  const { validForSeconds = 600, key = makeKey(), issuer = await authorityOfCluster() } = options
  const { uris, dnsNames } = claimsToNames(claims)
  const usages = claims.kind === 'serve' ? (['serverAuth'] as const) : (['clientAuth', 'serverAuth'] as const)
  const leaf = await issueLeaf(issuer, {
    commonName: 'node',
    validForSeconds,
    names: [
      ...uris.map((value) => ({ type: 'url', value }) as const),
      ...dnsNames.map((value) => ({ type: 'dns', value }) as const),
    ],
    usages: [...usages],
    spki: key.spki,
  })
  return { certificatePem: leaf.certificatePem, privateKeyPem: key.privateKeyPem }
}

/** Blobs by number: swarm id and digest have it in every digit. */
export const swarmOf = (blob: number) => blob.toString(16).padStart(40, 'a') as SwarmId
export const digestOf = (blob: number) => digestFromHex(blob.toString(16).padStart(64, 'd'))

/** One blob at one node. */
export class TestHost implements SharedHost {
  readonly swarm: SwarmId
  readonly node: NodeId
  readonly blob: SharedHost['blob']
  readonly layout = pieceLayout(BLOB_BYTES)
  readonly version = 'test'
  readonly defects: Defects
  readonly have: Bitfield
  isUploadOnly: boolean
  held: Grant | undefined
  /** What happened, in order. */
  readonly events: string[] = []
  receivedBytes = 0
  readonly sources = new Map<NodeId, { link: SourceLink; limits: SourceLimits }>()
  readonly served = new Set<ServedLink>()
  readonly told = new Map<NodeId, Set<PieceIndex>>()
  readonly downloaders: Peer[] = []
  banned: NodeId | undefined
  readonly dials = { ended: (node: NodeId) => void this.events.push(`dial ended ${node.slice(0, 4)}`) }
  readonly #buffers = new SendBuffers()
  readonly #target = Buffer.alloc(128 * 1024)

  constructor(end: { node: NodeId; defects: Defects }, blob: number, { isSeed }: { isSeed: boolean }) {
    this.node = end.node
    this.defects = end.defects
    this.swarm = swarmOf(blob)
    this.blob = { registry: REGISTRY, digest: digestOf(blob) }
    this.isUploadOnly = isSeed
    this.have = new Bitfield(this.layout.pieceCount)
    if (isSeed) for (const piece of allPieces(this.layout)) this.have.add(piece)
  }

  grant = () => this.held
  isRead = () => this.held !== undefined
  announceable = () => this.have
  makeRoom = () => true
  isRevoked = ({ node }: CertificateClaims) => node === this.banned
  prover = () => this.held?.prover
  pullCredential = () => this.held?.credential
  hasIssued = () => true
  needsProof = () => true
  checkCertificate = (claims: CertificateClaims) => claims as PullClaims
  checkProof = (): never => {
    throw new Error('not on links')
  }
  hasPiece = (piece: PieceIndex) => this.have.has(piece)
  piecesOf = ({ node }: SwarmLink) => this.told.get(node)?.size ?? 0
  onOpen(link: SourceLink, limits: SourceLimits) {
    this.events.push('open')
    this.sources.set(link.node, { link, limits })
  }
  onServing(link: ServedLink) {
    this.events.push('serving')
    this.served.add(link)
  }
  onTold(node: NodeId, pieces: Iterable<PieceIndex>) {
    const told = this.told.get(node) ?? new Set()
    this.told.set(node, told)
    for (const piece of pieces) told.add(piece)
    return true
  }
  onDownloader(peer: Peer) {
    this.downloaders.push(peer)
  }
  onAdmitted(link: ServedLink) {
    link.welcome([], this.have)
  }
  onBatch = () => true
  onOffer(_link: SwarmLink, pieces: PieceIndex[] | 'all') {
    this.events.push(pieces === 'all' ? 'all offered' : `offered ${pieces.join()}`)
    return true
  }
  onOfferBits() {
    this.events.push('bits offered')
  }
  onChoke(_link: SwarmLink, isChoked: boolean) {
    this.events.push(isChoked ? 'choked' : 'unchoked')
    return true
  }
  onBlockStart(_link: SwarmLink, block: BlockAddress) {
    return this.#target.subarray(0, block.length)
  }
  onBlockEnd(_link: SwarmLink, block: BlockAddress) {
    this.receivedBytes += block.length
  }
  onReject() {
    this.events.push('rejected')
    return true
  }
  /** Serves whoever asks, in the order of the links' turns. */
  onUploadWanted() {
    const file = {
      readBlock: (_buffer: Buffer, _wanted: object, read: (isRead: boolean) => void) => read(true),
    }
    for (const { lane } of this.served) {
      while (lane.canWrite() && lane.queue.length > 0) {
        const [block] = lane.queue
        if (lane.serve(block!, file as never, this.#buffers) !== true) return
        lane.queue.shift()
      }
    }
  }
  onClosed(link: SwarmLink, reason: ShoalError | undefined) {
    this.events.push(reason ? `closed ${reason.code}` : 'closed')
    this.served.delete(link as ServedLink)
    if (this.sources.get(link.node)?.link === link) this.sources.delete(link.node)
  }
}

/** One node. */
export interface TestEnd {
  node: NodeId
  peer: Peer
  links: NodeLinks
  trust: ClusterTrustState
  defects: Defects
  hosts: Map<SwarmId, TestHost>
  /** Proofs that were verified here. */
  proofs: number
  refusals: string[]
  credential: PeerCredential
  certificate: KeyedCertificate
  /** Set by a test that wants something else of the admission. */
  admission: { needsProof: boolean; fails?: ShoalError }
  host(blob: number, options: { isSeed: boolean }): TestHost
  /** A pull of this node for these blobs. */
  grant(blobs: number[], changes?: GrantChanges): Promise<Grant>
  close(): Promise<void>
}

interface GrantChanges {
  pullId?: string
  node?: NodeId
  key?: ReturnType<typeof makeKey>
  validForSeconds?: number
  issuer?: KeyedCertificate
}

const open: TestEnd[] = []

export async function closeEnds(): Promise<void> {
  for (const end of open.splice(0)) await end.close()
}

export async function startEnd({ linkSeconds = 600 } = {}): Promise<TestEnd> {
  const key = makeKey()
  const node = nodeIdOf(key.spki)
  const { defects } = noteDefects()
  const { certificatePem } = await authorityOfCluster()
  const trust = new ClusterTrustState({ adopt: () => undefined } as unknown as TokenKeys)
  trust.cluster = CLUSTER
  trust.update({ authorities: [certificatePem], batchKeys: [], tokenKeys: [] })
  const certificate = await issue(
    { kind: 'link', cluster: CLUSTER, node },
    { key, validForSeconds: linkSeconds },
  )
  const credential = trust.credential(certificate.certificatePem, certificate.privateKeyPem, linkSeconds)
  const proven = new Set<string>()
  const end: TestEnd = {
    ...{ node, trust, defects, credential, certificate, proofs: 0, refusals: [], hosts: new Map() },
    admission: { needsProof: true },
    peer: { node, address: '127.0.0.1', port: 0, isSeed: true, wire: 2 },
    links: undefined as never,
    host(blob, options) {
      const host = new TestHost(end, blob, options)
      end.hosts.set(host.swarm, host)
      return host
    },
    async grant(blobs, changes = {}) {
      const pullId = changes.pullId ?? Math.random().toString(16).slice(2).padEnd(32, '0')
      const signingInput = `token of ${pullId}`
      const claims: PullClaims = {
        ...{ tokenHash: signingInputHash(signingInput) },
        ...{ kind: 'pull', cluster: CLUSTER, node: changes.node ?? node, pullId, registry: REGISTRY },
        ...{ repository: parseRepository('team/app'), grantedAtSeconds: 1, blobs: blobs.map(digestOf) },
      }
      const { validForSeconds = 600 } = changes
      const issued = await issue(claims, { ...changes, validForSeconds })
      return {
        ...{ pull: pullId, registry: REGISTRY, repository: claims.repository, swarms: new Map() },
        grantedAtMs: Date.now(),
        credential: trust.credential(issued.certificatePem, issued.privateKeyPem, validForSeconds),
        prover: { signingInput, prove: () => Buffer.from('proof') },
      }
    },
    async close() {
      end.links.close()
      await listener.close()
    },
  }
  const admission: Pick<Admission, 'needsProof' | 'hasProven' | 'checkProof' | 'isWithdrawn'> = {
    needsProof: () => end.admission.needsProof,
    hasProven: (_claims, { signingInput }, key) => proven.has(signingInput + key),
    checkProof(_claims, { signingInput }, _binding, key) {
      if (end.admission.fails) throw end.admission.fails
      if (!proven.has(signingInput + key)) end.proofs += 1
      proven.add(signingInput + key)
      return {} as ReturnType<Admission['checkProof']>
    },
    isWithdrawn: () => false,
  }
  let port = 0
  end.links = new NodeLinks({
    credential: () => end.credential,
    log: pino({ level: 'silent' }),
    reach: {
      answered: () => undefined,
      late: () => undefined,
      failed: (_peer, error) => void end.refusals.push(error.message),
    },
    parts: {
      ...{ node: () => node, version: 'test', trust, defects, admission: admission as Admission },
      listenPort: () => port,
      hostOf: (swarm) => end.hosts.get(swarm),
    },
  })
  const listener = new PeerListener({
    acceptedMax: () => ACCEPTED_MAX,
    ...{ host: '127.0.0.1', port: 0, links: end.links, defects },
    swarmOf: () => undefined,
    context: () => undefined,
    onRefused: (error) => void end.refusals.push(error.message),
  })
  port = await listener.listen()
  end.peer.port = port
  open.push(end)
  return end
}

export const certificateOf = ({ certificatePem }: { certificatePem: string }) =>
  new X509Certificate(certificatePem)
