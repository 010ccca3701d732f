import {
  createPrivateKey,
  generateKeyPairSync,
  type KeyObject,
  randomBytes,
  timingSafeEqual,
} from 'node:crypto'
import { batchKeyToRaw } from '../../core/hash-batch.ts'
import { makeAuthority } from '../../core/issue-certificate.ts'
import { clusterOfJoinToken, joinTokenHash } from '../../core/join-token.ts'
import type { ClusterId } from '../../core/metainfo.ts'
import { peerTokenKey } from '../../core/peer-token.ts'
import type { ClusterTrust } from '../../core/tracker-api.ts'
import { RefusedError, StoreConflictError } from '../errors.ts'
import type { ClusterRecord, Store } from '../store/store.ts'
import { ClusterAuthority } from './cluster-authority.ts'
import type { Sealer } from './sealer.ts'

/** Ten years: an authority is changed by rotation, not by running out. */
const AUTHORITY_VALID_SECONDS = 10 * 365 * 24 * 3600
/** Bound of clusters on one tracker: each is an authority that every TLS handshake may be checked against. */
export const CLUSTERS_MAX = 256
const NO_HASH = randomBytes(32)

/** A cluster with its secrets unsealed. The first authority and batch key issue and sign; all are trusted. */
export interface Cluster {
  readonly cluster: ClusterId
  readonly name: string
  readonly authorities: readonly ClusterAuthority[]
  readonly batchKeys: readonly KeyObject[]
  /** Sign peer tokens; each is derived from a batch key, so they change together. */
  readonly peerTokenKeys: readonly KeyObject[]
  readonly trust: Pick<ClusterTrust, 'authorities' | 'batchKeys'>
  joinToken: { hash: Buffer; validUntilMs: number | null }
}

export interface NewCluster {
  cluster: ClusterId
  name: string
  /** SHA-256 (64 hex digits) of the whole join token. */
  joinTokenHash: string
}

/** Who asked for a change, and when: for the audit log. */
export interface ActedBy {
  actor: string
  nowMs: number
}

/** All clusters of this tracker. Invariant: what is in memory is in the store, sealed. */
export class Clusters {
  readonly #store: Store
  readonly #sealer: Sealer
  readonly #byId = new Map<ClusterId, Cluster>()
  readonly #byAuthority = new Map<string, Cluster>()
  readonly #onChange: (() => void)[] = []

  private constructor(store: Store, sealer: Sealer) {
    this.#store = store
    this.#sealer = sealer
  }

  /** @throws UnsealError when the store was tampered with */
  static async load(store: Store, sealer: Sealer): Promise<Clusters> {
    const clusters = new Clusters(store, sealer)
    for (const record of await store.clusters()) clusters.#add(record)
    return clusters
  }

  /** Called after every change of the authorities, so that the listener trusts them. */
  onChange(listener: () => void): void {
    this.#onChange.push(listener)
  }

  list(): Cluster[] {
    return [...this.#byId.values()]
  }

  /** @throws RefusedError CLUSTER_UNKNOWN */
  get(cluster: ClusterId): Cluster {
    const found = this.#byId.get(cluster)
    if (found === undefined) throw new RefusedError('CLUSTER_UNKNOWN', `there is no cluster ${cluster}`)
    return found
  }

  /** The cluster whose authority has this SHA-256 fingerprint: the only thing that decides where a caller belongs. */
  byAuthority(fingerprint: string): Cluster | undefined {
    return this.#byAuthority.get(fingerprint)
  }

  authorityPems(): string[] {
    return this.list().flatMap((cluster) => cluster.trust.authorities)
  }

  /** @throws RefusedError CLUSTER_EXISTS */
  async create(options: NewCluster, by: ActedBy): Promise<Cluster> {
    if (this.#byId.size >= CLUSTERS_MAX) throw new RefusedError('CLUSTER_EXISTS', 'this tracker is full')
    const record = await this.#makeRecord(options, by.nowMs)
    try {
      await this.#store.createCluster(record, {
        atMs: by.nowMs,
        actor: by.actor,
        action: 'cluster created',
        cluster: options.cluster,
        target: options.name,
      })
    } catch (cause) {
      if (!(cause instanceof StoreConflictError)) throw cause
      throw new RefusedError('CLUSTER_EXISTS', `cluster ${options.cluster} exists`, { cause })
    }
    const cluster = this.#add(record)
    for (const listener of this.#onChange) listener()
    return cluster
  }

  /** Replaces the join token; the old one ends at once. */
  async putJoinToken(
    clusterId: ClusterId,
    token: { hash: string; validForSeconds?: number | undefined },
    by: ActedBy,
  ): Promise<void> {
    const cluster = this.get(clusterId)
    const hash = Buffer.from(token.hash, 'hex')
    const validUntilMs = token.validForSeconds === undefined ? null : by.nowMs + token.validForSeconds * 1000
    const sealedHash = this.#sealer.seal(joinTokenPlace(clusterId), hash)
    await this.#store.putJoinToken(
      clusterId,
      { sealedHash, validUntilMs },
      {
        atMs: by.nowMs,
        actor: by.actor,
        action: 'join token changed',
        cluster: clusterId,
        target: clusterId,
      },
    )
    cluster.joinToken = { hash, validUntilMs }
  }

  /**
   * The cluster that a join token opens. Unknown cluster, wrong token and ended token look the same from outside.
   * @throws RefusedError JOIN_REFUSED
   */
  byJoinToken(joinToken: string, nowMs: number): Cluster {
    const id = clusterOfJoinToken(joinToken)
    const cluster = id && this.#byId.get(id)
    const isRight = timingSafeEqual(
      Buffer.from(joinTokenHash(joinToken), 'hex'),
      cluster?.joinToken.hash ?? NO_HASH,
    )
    const isInTime = (cluster?.joinToken.validUntilMs ?? Number.POSITIVE_INFINITY) > nowMs
    if (cluster === undefined || !isRight || !isInTime) {
      throw new RefusedError('JOIN_REFUSED', 'the join token is not valid')
    }
    return cluster
  }

  async #makeRecord({ cluster, name, joinTokenHash }: NewCluster, nowMs: number): Promise<ClusterRecord> {
    const authority = await makeAuthority({
      commonName: `shoal cluster ${cluster}`,
      validForSeconds: AUTHORITY_VALID_SECONDS,
    })
    const batchKey = generateKeyPairSync('ed25519').privateKey
    const batchKeyPem = batchKey.export({ type: 'pkcs8', format: 'pem' }) as string
    return {
      cluster,
      name,
      createdAtMs: nowMs,
      joinToken: {
        sealedHash: this.#sealer.seal(joinTokenPlace(cluster), Buffer.from(joinTokenHash, 'hex')),
        validUntilMs: null,
      },
      authorities: [
        {
          certificatePem: authority.certificatePem,
          sealedKey: this.#sealer.seal(authorityPlace(cluster), Buffer.from(authority.privateKeyPem)),
          createdAtMs: nowMs,
        },
      ],
      batchKeys: [
        {
          publicKey: batchKeyToRaw(batchKey),
          sealedKey: this.#sealer.seal(batchKeyPlace(cluster), Buffer.from(batchKeyPem)),
          createdAtMs: nowMs,
        },
      ],
    }
  }

  #add(record: ClusterRecord): Cluster {
    const open = (place: string, sealed: Buffer) => this.#sealer.open(place, sealed)
    const { cluster } = record
    const authorities = record.authorities.map(
      ({ certificatePem, sealedKey }) =>
        new ClusterAuthority(certificatePem, open(authorityPlace(cluster), sealedKey).toString()),
    )
    const batchKeys = record.batchKeys.map(({ sealedKey }) =>
      createPrivateKey(open(batchKeyPlace(cluster), sealedKey)),
    )
    const added: Cluster = {
      cluster,
      name: record.name,
      authorities,
      batchKeys,
      peerTokenKeys: batchKeys.map((key) => peerTokenKey(cluster, key)),
      trust: {
        authorities: authorities.map(({ certificatePem }) => certificatePem),
        batchKeys: record.batchKeys.map(({ publicKey }) => publicKey),
      },
      joinToken: {
        hash: open(joinTokenPlace(cluster), record.joinToken.sealedHash),
        validUntilMs: record.joinToken.validUntilMs,
      },
    }
    this.#byId.set(cluster, added)
    for (const { fingerprint } of authorities) this.#byAuthority.set(fingerprint, added)
    return added
  }
}

const joinTokenPlace = (cluster: ClusterId) => `join token of ${cluster}`
const authorityPlace = (cluster: ClusterId) => `authority key of ${cluster}`
const batchKeyPlace = (cluster: ClusterId) => `batch key of ${cluster}`
