import { digestFromHex } from '../../core/digest.ts'
import type { ClusterId, NodeId, SwarmId } from '../../core/metainfo.ts'
import type { RegistryHost, Repository } from '../../core/repository.ts'
import { emptyChange, type Store } from '../../tracker/store/store.ts'

const CLUSTER = `c${'1'.repeat(16)}` as ClusterId
const NODE = '1'.repeat(40) as NodeId
const SWARM = 'a'.repeat(40) as SwarmId
const REGISTRY = 'registry.example.com' as RegistryHost
const AUDIT = {
  atMs: 1,
  actor: 'test',
  action: 'filled',
  cluster: CLUSTER,
  target: 'line\nbreak "quoted" \u2028',
}
const DIGEST = digestFromHex('d'.repeat(64))

/** Puts at least one row into every table. */
export async function fillStore(store: Store): Promise<void> {
  const key = Buffer.from([0, 255, 10])
  await store.putSealedDataKey(key)
  const authority = { certificatePem: 'pem', sealedKey: key, createdAtMs: 5 }
  const batchKeys = [{ publicKey: 'raw', sealedKey: key, createdAtMs: 5, endsAtMs: null }]
  const cluster = { cluster: CLUSTER, name: 'a cluster', createdAtMs: 5, authorities: [authority], batchKeys }
  const token = { id: 't', cluster: CLUSTER, sealedHash: key, createdAtMs: 5, validUntilMs: null, usesMax: 3 }
  await store.createCluster(cluster, { ...token, uses: 0, withdrawnAtMs: null }, AUDIT)
  await store.addAuthority(CLUSTER, { ...authority, certificatePem: 'newer' }, { forgetsNodes: false }, AUDIT)
  const times = { joinedAtMs: 1, renewedAtMs: 2 }
  await store.putNode({ cluster: CLUSTER, node: NODE, address: '10.0.0.1', ...times, wire: 2 }, AUDIT)
  const adminToken = {
    name: 'n',
    role: 'reader' as const,
    hash: 'h',
    createdAtMs: 1,
    endsAtMs: 2,
    sealed: key,
  }
  await store.putAdminToken(adminToken, AUDIT)
  await store.putLabels({ cluster: CLUSTER, node: NODE }, { zone: 'a' }, AUDIT)
  await store.putPause({ cluster: CLUSTER, node: null, atMs: 3 }, AUDIT)
  const tokenKey = { registry: REGISTRY, issuer: 'i', audience: 'a', jwk: { kty: 'EC' } }
  const trust = { probedAtMs: 1, trustedUntilMs: 2, withdrawnAtMs: null, sealed: key }
  await store.putTokenKey({ id: 'k', key: tokenKey, ...trust }, AUDIT)
  const identity = { cluster: CLUSTER, swarm: SWARM, registry: REGISTRY, digest: DIGEST, bytes: 2 ** 40 }
  await store.ensureSwarm(identity)
  const of = { cluster: CLUSTER, node: NODE, registry: REGISTRY, repository: 'team/app' as Repository }
  const blobs = [{ swarm: SWARM, digest: DIGEST, isComplete: false }]
  const ends = { grantedAtMs: 1, expiresAtMs: 2 }
  await store.putPull(
    { pull: 'p', ...of, subject: '', tokenHash: null, tokenKey: null, spki: key, ...ends, blobs },
    AUDIT,
  )
  const empty = emptyChange({ epoch: 1, isConfirmed: true })
  const dispute = {
    publisher: NODE,
    publisherPull: 'p',
    publishedHash: key,
    reporter: NODE,
    reportedHash: key,
  }
  await store.saveSwarm(SWARM, 0, {
    ...empty,
    dropCompletions: true,
    addCompletions: [NODE],
    putPieces: [{ piece: 0, hash: Buffer.alloc(32, 7), node: NODE, pull: 'p' }],
    putLeases: [{ lease: 'l', node: NODE, pull: 'p', firstPiece: 1, pieces: 2, expiresAtMs: 9 }],
    addDisputes: [{ kind: 'mismatch', epoch: 0, piece: 0, ...dispute, atMs: 4 }],
  })
  await store.putPiecesSha1(SWARM, NODE, Buffer.alloc(40, 9))
  const revoked = { registry: null, subject: null, tokenHash: null, atMs: 4, endsAtMs: null, isLeft: false }
  const first = await store.addRevocation({ cluster: CLUSTER, kind: 'node', target: NODE, ...revoked }, AUDIT)
  await store.addRevocation({ cluster: CLUSTER, kind: 'pull', target: 'p', ...revoked }, AUDIT)
  await store.clearRevocation(first, AUDIT)
  await store.learn({ cluster: CLUSTER, node: NODE, atMs: 5 }, new Map([['id', 'copy']]))
}

export async function linesOf(lines: AsyncIterable<string>): Promise<string[]> {
  return await Array.fromAsync(lines)
}

export async function* each(lines: readonly string[]): AsyncGenerator<string> {
  yield* lines
}
