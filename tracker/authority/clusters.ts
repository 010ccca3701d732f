import { randomBytes } from 'node:crypto'
import { makeAuthority } from '../../core/issue-certificate.ts'
import type { ClusterId } from '../../core/metainfo.ts'
import { RefusedError, StoreConflictError } from '../errors.ts'
import type { ActedBy, AuthorityRecord, ClusterRecord, NodeRecord, Store } from '../store/store.ts'
import { Cluster, type Rotation, type RotationClock } from './cluster.ts'
import { ClusterAuthority, NODE_CERTIFICATE_SECONDS } from './cluster-authority.ts'
import { auditOf, type NewCluster, sealJoinToken } from './new-cluster.ts'
import { openAuthorityKey } from './sealed-keys.ts'
import { placeOf, type Sealer } from './sealer.ts'
import {
  type KeyRotation,
  makeSigningKey,
  openSigningKey,
  PREVIOUS_KEY_SECONDS,
  type SigningKey,
  shortOfKey,
} from './signing-key.ts'

/** Ten years: operators rotate an authority, and it does not expire before. */
const AUTHORITY_VALID_SECONDS = 10 * 365 * 24 * 3600
/** Bound of clusters on one tracker: every TLS handshake may be checked against the authority of each. */
export const CLUSTERS_MAX = 256
/** Digits of an authority's SHA-256 in the audit log: 64 bits tell authorities apart. */
const FINGERPRINT_CHARS = 16

/** All clusters of this tracker. Invariant: everything in memory is also in the store, sealed. */
export class Clusters {
  readonly #store: Store
  readonly #sealer: Sealer
  readonly #clock: RotationClock
  readonly #byId = new Map<ClusterId, Cluster>()
  readonly #byAuthority = new Map<string, Cluster>()
  readonly #onChange: (() => void)[] = []

  private constructor(store: Store, sealer: Sealer, clock: RotationClock) {
    this.#store = store
    this.#sealer = sealer
    this.#clock = clock
  }

  /** @throws UnsealError if the store was altered */
  static async load(store: Store, sealer: Sealer, clock: RotationClock): Promise<Clusters> {
    const clusters = new Clusters(store, sealer, clock)
    for (const record of await store.clusters()) clusters.#add(record)
    return clusters
  }

  /**
   * Takes up what another tracker put into the store. Calls that are under way end with the clusters as they were.
   * @throws UnsealError, and changes nothing
   */
  reload(): Promise<void> {
    return this.#sealer.inTurn(async () => {
      const before = this.authorityPems().join()
      const opened = (await this.#store.clusters()).map((record) => this.#open(record))
      this.#byId.clear()
      this.#byAuthority.clear()
      for (const cluster of opened) this.#put(cluster)
      if (this.authorityPems().join() !== before) this.#changed()
    })
  }

  /** Called after every change of the authorities, so that the listener trusts them, and of join tokens. */
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

  /** The cluster whose authority has this SHA-256 fingerprint; nothing else decides where a caller belongs. */
  byAuthority(fingerprint: string): Cluster | undefined {
    return this.#byAuthority.get(fingerprint)
  }

  authorityPems(): string[] {
    return this.list().flatMap((cluster) => cluster.trust.authorities)
  }

  /** @throws RefusedError CLUSTER_EXISTS */
  create(options: NewCluster, by: ActedBy): Promise<Cluster> {
    return this.#sealer.inTurn(async () => {
      if (this.#byId.size >= CLUSTERS_MAX) throw new RefusedError('CLUSTER_EXISTS', 'this tracker is full')
      const record = await this.#makeRecord(options, by.nowMs)
      const { cluster, name, joinToken } = options
      const token = sealJoinToken(this.#sealer, cluster, joinToken, by.nowMs)
      try {
        await this.#store.createCluster(record, token, auditOf(by, 'cluster created', cluster, name))
      } catch (cause) {
        if (!(cause instanceof StoreConflictError)) throw cause
        throw new RefusedError('CLUSTER_EXISTS', `cluster ${cluster} exists`, { cause })
      }
      const added = this.#add(record)
      this.#changed()
      return added
    })
  }

  joinTokensChanged(): void {
    this.#changed()
  }

  /**
   * Begins a rotation with a new authority. All nodes trust it before it issues.
   * @param isLeaked somebody else has the earlier key: its certificates are not renewed, and every node joins again
   * @throws RefusedError CLUSTER_UNKNOWN; ROTATION_UNDER_WAY while an earlier authority is still trusted
   */
  addAuthority(clusterId: ClusterId, { isLeaked }: { isLeaked: boolean }, by: ActedBy): Promise<Rotation> {
    return this.#sealer.inTurn(async () => {
      const cluster = this.get(clusterId)
      if (cluster.rotation !== undefined) {
        throw new RefusedError('ROTATION_UNDER_WAY', 'an earlier authority of this cluster is still trusted')
      }
      const record = await this.#makeAuthority(clusterId, by.nowMs)
      const added = this.#opened(clusterId, record)
      const action = isLeaked ? 'authority added after a leak, nodes must join again' : 'authority added'
      const audit = auditOf(by, action, clusterId, shortOf(added))
      await this.#store.addAuthority(clusterId, record, { forgetsNodes: isLeaked }, audit)
      cluster.addAuthority(added)
      this.#byAuthority.set(added.fingerprint, cluster)
      this.#changed()
      return cluster.rotation!
    })
  }

  /**
   * Ends a rotation: certificates of the previous authority no longer count, here at once, at nodes a heartbeat later.
   * @param isForced even if nodes still hold certificates of it; they must join again
   * @throws RefusedError CLUSTER_UNKNOWN, ROTATION_NONE, ROTATION_TOO_EARLY
   */
  async withdrawAuthority(
    clusterId: ClusterId,
    { isForced }: { isForced: boolean },
    by: ActedBy,
  ): Promise<{ nodesLeft: number }> {
    const cluster = this.get(clusterId)
    const { rotation } = cluster
    if (rotation === undefined) throw new RefusedError('ROTATION_NONE', 'the cluster has one authority')
    if (by.nowMs < rotation.issuesAtMs) {
      throw new RefusedError('ROTATION_TOO_EARLY', 'nodes are still hearing of the new authority')
    }
    const nodesLeft = await this.#nodesOnPrevious(clusterId, rotation, by.nowMs)
    if (nodesLeft > 0 && !isForced) {
      const which = `${nodesLeft} ${nodesLeft === 1 ? 'node holds a certificate' : 'nodes hold certificates'}`
      throw new RefusedError('ROTATION_TOO_EARLY', `${which} of the previous authority`)
    }
    const { previous } = rotation
    const audit = auditOf(by, 'authority withdrawn', clusterId, shortOf(previous))
    await this.#store.removeAuthority(clusterId, previous.certificatePem, audit)
    cluster.dropAuthority(previous)
    this.#byAuthority.delete(previous.fingerprint)
    this.#changed()
    return { nodesLeft }
  }

  /**
   * Begins a change of the key that signs hash batches, and of the key for peer tokens that is derived from it. All nodes
   * trust the new key before it signs.
   * @param isLeaked somebody else has the earlier key: it ends as soon as the new one signs
   * @throws RefusedError CLUSTER_UNKNOWN; ROTATION_UNDER_WAY while an earlier key is still trusted
   */
  addSigningKey(
    clusterId: ClusterId,
    { isLeaked }: { isLeaked: boolean },
    by: ActedBy,
  ): Promise<KeyRotation> {
    return this.#sealer.inTurn(async () => {
      const cluster = this.get(clusterId)
      if (cluster.keyRotation !== undefined) {
        throw new RefusedError(
          'ROTATION_UNDER_WAY',
          'an earlier signing key of this cluster is still trusted',
        )
      }
      const record = makeSigningKey(this.#sealer, clusterId, by.nowMs)
      const signsAtMs = cluster.signsAtMs(by.nowMs)
      const previousEndsAtMs = isLeaked ? signsAtMs : signsAtMs + PREVIOUS_KEY_SECONDS * 1000
      const action = isLeaked ? 'signing key added after a leak' : 'signing key added'
      const audit = auditOf(by, action, clusterId, shortOfKey(record.publicKey))
      await this.#store.addBatchKey(clusterId, record, { previousEndsAtMs }, audit)
      cluster.addSigningKey(openSigningKey(this.#sealer, clusterId, record), { previousEndsAtMs })
      return cluster.keyRotation!
    })
  }

  /**
   * Ends the change: signatures of the previous key no longer count, here at once, at nodes a heartbeat later.
   * @param isForced even if nodes are still renewing signatures
   * @throws RefusedError CLUSTER_UNKNOWN, ROTATION_NONE, ROTATION_TOO_EARLY
   */
  async withdrawSigningKey(
    clusterId: ClusterId,
    { isForced }: { isForced: boolean },
    by: ActedBy,
  ): Promise<void> {
    const cluster = this.get(clusterId)
    const { keyRotation } = cluster
    if (keyRotation === undefined) throw new RefusedError('ROTATION_NONE', 'the cluster has one signing key')
    if (by.nowMs < keyRotation.signsAtMs) {
      throw new RefusedError('ROTATION_TOO_EARLY', 'nodes are still hearing of the new key')
    }
    if (by.nowMs < keyRotation.renewedAtMs && !isForced) {
      throw new RefusedError('ROTATION_TOO_EARLY', 'nodes are still renewing what the previous key signed')
    }
    await this.#removeKey(cluster, keyRotation.previous, by)
  }

  /** Withdraws authorities whose last certificate has ended, and erases ended signing keys. */
  async withdrawEnded(nowMs: number): Promise<void> {
    const by = { actor: 'tracker', nowMs }
    for (const cluster of this.list()) {
      for (const key of cluster.endedKeys) await this.#removeKey(cluster, key, by)
      const { rotation } = cluster
      if (rotation === undefined || nowMs < rotation.previousEndsAtMs) continue
      await this.withdrawAuthority(cluster.cluster, { isForced: true }, by)
    }
  }

  #changed(): void {
    for (const listener of this.#onChange) listener()
  }

  /** Nodes with a certificate of the previous authority that has not ended. */
  async #nodesOnPrevious(cluster: ClusterId, { issuesAtMs }: Rotation, nowMs: number): Promise<number> {
    const nodes = await this.#store.nodes(cluster)
    const endsAtMs = ({ renewedAtMs }: NodeRecord) => renewedAtMs + NODE_CERTIFICATE_SECONDS * 1000
    return nodes.filter((node) => node.renewedAtMs < issuesAtMs && endsAtMs(node) > nowMs).length
  }

  async #makeRecord({ cluster, name }: NewCluster, nowMs: number): Promise<ClusterRecord> {
    return {
      cluster,
      name,
      createdAtMs: nowMs,
      authorities: [await this.#makeAuthority(cluster, nowMs)],
      batchKeys: [makeSigningKey(this.#sealer, cluster, nowMs)],
    }
  }

  async #removeKey(cluster: Cluster, key: SigningKey, by: ActedBy): Promise<void> {
    const audit = auditOf(by, 'signing key withdrawn', cluster.cluster, shortOfKey(key.batchKeyPublic))
    await this.#store.removeBatchKey(cluster.cluster, key.batchKeyPublic, audit)
    cluster.dropSigningKey(key)
  }

  async #makeAuthority(cluster: ClusterId, nowMs: number): Promise<AuthorityRecord> {
    const { certificatePem, privateKeyPem } = await makeAuthority({
      // A TLS listener tells everybody the names of its authorities: use unique names without the cluster's id.
      commonName: `shoal authority ${randomBytes(8).toString('hex')}`,
      validForSeconds: AUTHORITY_VALID_SECONDS,
    })
    const sealedKey = this.#sealer.seal(placeOf('authority', cluster), Buffer.from(privateKeyPem))
    return { certificatePem, sealedKey, createdAtMs: nowMs }
  }

  #opened(cluster: ClusterId, record: AuthorityRecord): ClusterAuthority {
    const { privateKeyPem } = openAuthorityKey(this.#sealer, placeOf('authority', cluster), record)
    return new ClusterAuthority(record.certificatePem, privateKeyPem, record.createdAtMs)
  }

  #add(record: ClusterRecord): Cluster {
    return this.#put(this.#open(record))
  }

  #open(record: ClusterRecord): Cluster {
    const { cluster, name } = record
    const authorities = record.authorities.map((authority) => this.#opened(cluster, authority))
    const secrets = {
      authorities,
      signingKeys: record.batchKeys.map((key) => openSigningKey(this.#sealer, cluster, key)),
    }
    return new Cluster({ cluster, name, ...secrets }, this.#clock)
  }

  #put(cluster: Cluster): Cluster {
    this.#byId.set(cluster.cluster, cluster)
    for (const { fingerprint } of cluster.authorities) this.#byAuthority.set(fingerprint, cluster)
    return cluster
  }
}

function shortOf({ fingerprint }: ClusterAuthority): string {
  return fingerprint.replaceAll(':', '').slice(0, FINGERPRINT_CHARS).toLowerCase()
}
