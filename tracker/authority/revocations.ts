import { setImmediate as nextTurn } from 'node:timers/promises'
import type { ClusterId, NodeId } from '../../core/metainfo.ts'
import type { RegistryHost } from '../../core/repository.ts'
import type { Revocation } from '../../core/tracker-api.ts'
import { RefusedError } from '../errors.ts'
import type { RevocationRecord, RevocationsRecord } from '../store/revocations.ts'
import type { ActedBy, Store } from '../store/store.ts'

/** Until a convicted node's certificate, which it cannot renew, has ended: it returns only with the join token. */
export const CONVICTION_MS = 24 * 3600 * 1000
/** Bound of convictions in force in all clusters, because nodes hear of each. The oldest go first. */
export const CONVICTIONS_MAX = 256
/** Bound, for each cluster, of nodes that gave their identity back and are still listed, because their certificates have not ended. */
export const LEFT_NODES_MAX = 1024

/**
 * The target of a revocation. A revoked pull also bars its token's subject, until the revocation is cleared. A conviction is
 * the tracker's own verdict: it ends by itself, and bars the node and the token of its pull. It does not bar the token's
 * subject: all nodes of a cluster may share one account, and one liar would exclude them all. A node that left is listed
 * until its certificates have ended.
 */
export type RevocationTarget =
  | { kind: 'node'; node: NodeId; conviction?: { tokenHash: string | null }; isLeft?: boolean }
  | { kind: 'pull'; pull: string; registry: RegistryHost; subject: string }

export interface RevocationNews {
  revocationsVersion: number
  revocations: Revocation[]
  isFullRevocations: boolean
}

/**
 * Revocations in force. Nodes report the newest sequence number that they know. A node that is behind gets the newer
 * ones, or everything if something was cleared since.
 */
export class Revocations {
  readonly #store: Store
  #record: RevocationsRecord
  #nodes = new Set<string>()
  #pulls = new Set<string>()
  #subjects = new Set<string>()
  #tokens = new Set<string>()

  private constructor(store: Store, record: RevocationsRecord) {
    this.#store = store
    this.#record = record
    this.#index()
  }

  static async load(store: Store): Promise<Revocations> {
    return new Revocations(store, await store.revocations())
  }

  list(): readonly RevocationRecord[] {
    return this.#record.inForce
  }

  isNodeRevoked(cluster: ClusterId, node: NodeId): boolean {
    return this.#nodes.has(`${cluster} ${node}`)
  }

  isPullRevoked(cluster: ClusterId, pull: string): boolean {
    return this.#pulls.has(`${cluster} ${pull}`)
  }

  isSubjectBarred(cluster: ClusterId, registry: RegistryHost, subject: string): boolean {
    return this.#subjects.has(subjectKey(cluster, registry, subject))
  }

  /** @throws RefusedError SUBJECT_REVOKED for a barred subject's token, PULL_REVOKED for a convicted node's token */
  checkBearer(
    cluster: ClusterId,
    registry: RegistryHost,
    { subject, tokenHash }: { subject: string; tokenHash: string | undefined },
  ): void {
    if (this.isSubjectBarred(cluster, registry, subject)) {
      throw new RefusedError('SUBJECT_REVOKED', "the token's subject is barred from pulling")
    }
    if (tokenHash !== undefined && this.#tokens.has(`${cluster} ${tokenHash}`)) {
      throw new RefusedError('PULL_REVOKED', 'a node that lied pulled with this token')
    }
  }

  /** @returns the revocation's sequence number */
  async revoke(cluster: ClusterId, target: RevocationTarget, by: ActedBy): Promise<number> {
    const isPull = target.kind === 'pull'
    const id = isPull ? target.pull : target.node
    const conviction = isPull ? undefined : target.conviction
    const isLeft = !isPull && target.isLeft === true
    const endsByItself = conviction !== undefined || isLeft
    const sequence = await this.#store.addRevocation(
      {
        cluster,
        kind: target.kind,
        target: id,
        registry: isPull ? target.registry : null,
        // Many users may have tokens without a subject: barring '' would bar all of them.
        subject: isPull && target.subject !== '' ? target.subject : null,
        tokenHash: conviction?.tokenHash ?? null,
        atMs: by.nowMs,
        endsAtMs: endsByItself ? by.nowMs + CONVICTION_MS : null,
        isLeft,
      },
      {
        atMs: by.nowMs,
        actor: by.actor,
        action: isLeft ? 'node left' : `${target.kind} revoked`,
        cluster,
        target: id,
      },
    )
    await this.reload()
    if (isLeft) await this.#clearAll(this.#surplusLeft(cluster), by.nowMs)
    return sequence
  }

  /** Nodes that left above the bound, the oldest first: at most one, as each that leaves looks. */
  #surplusLeft(cluster: ClusterId): readonly RevocationRecord[] {
    const left = this.#record.inForce.filter((it) => it.isLeft && it.cluster === cluster)
    return left.slice(0, Math.max(0, left.length - LEFT_NODES_MAX))
  }

  /** Clears what ends by itself and has ended, and the oldest above the bounds. */
  async clearEnded(nowMs: number): Promise<void> {
    const ending = this.#record.inForce.filter(({ endsAtMs }) => endsAtMs !== null)
    const convictions = ending.filter(({ isLeft }) => !isLeft)
    const excess = convictions.length - CONVICTIONS_MAX
    const tooMany = new Set(convictions.slice(0, Math.max(0, excess)))
    await this.#clearAll(
      ending.filter((it) => it.endsAtMs! <= nowMs || tooMany.has(it)),
      nowMs,
    )
  }

  /** The index is made anew once, at the end. */
  async #clearAll(records: readonly RevocationRecord[], nowMs: number): Promise<void> {
    for (const { sequence, cluster, target } of records) {
      const entry = { atMs: nowMs, actor: 'tracker', action: 'revocation cleared', cluster, target }
      await this.#store.clearRevocation(sequence, entry)
      // Each is a write to the disk: others get their turn.
      await nextTurn()
    }
    if (records.length > 0) await this.reload()
  }

  /** @throws RefusedError REVOCATION_UNKNOWN */
  async clear(sequence: number, by: ActedBy): Promise<void> {
    const record = this.#record.inForce.find((revocation) => revocation.sequence === sequence)
    const isCleared =
      record !== undefined &&
      (await this.#store.clearRevocation(sequence, {
        atMs: by.nowMs,
        actor: by.actor,
        action: 'revocation cleared',
        cluster: record.cluster,
        target: record.target,
      }))
    if (!isCleared) throw new RefusedError('REVOCATION_UNKNOWN', `no revocation ${sequence} is in force`)
    await this.reload()
  }

  /** The news for a node that knows `version`. @param copyOf what the node carries of each */
  newsSince(
    cluster: ClusterId,
    version: number,
    copyOf?: (record: RevocationRecord) => string,
  ): RevocationNews {
    const { newestSequence, newestClearing, inForce } = this.#record
    // The version is from the future, so this tracker's store was replaced.
    const isFull = version < newestClearing || version > newestSequence || version === 0
    if (version === newestSequence && !isFull) {
      return { revocationsVersion: version, revocations: [], isFullRevocations: false }
    }
    const news = inForce.filter((it) => it.cluster === cluster && (isFull || it.sequence > version))
    return {
      revocationsVersion: newestSequence,
      revocations: news.map((it) => ({
        ...toMessage(it),
        ...(copyOf && { sequence: it.sequence, copy: copyOf(it) }),
      })),
      isFullRevocations: isFull,
    }
  }

  /** Takes up what is in the store, also what another tracker put there. */
  async reload(): Promise<void> {
    this.#record = await this.#store.revocations()
    this.#index()
  }

  #index(): void {
    const { inForce } = this.#record
    const targets = (kind: string) =>
      new Set(inForce.filter((it) => it.kind === kind).map((it) => `${it.cluster} ${it.target}`))
    this.#nodes = targets('node')
    this.#pulls = targets('pull')
    this.#tokens = new Set(
      inForce.flatMap((it) => (it.tokenHash === null ? [] : [`${it.cluster} ${it.tokenHash}`])),
    )
    this.#subjects = new Set(
      inForce.flatMap((it) =>
        it.registry === null || it.subject === null ? [] : [subjectKey(it.cluster, it.registry, it.subject)],
      ),
    )
  }
}

/** Joined by NUL, which no cluster or host contains, so that no subject can pass for another. */
function subjectKey(cluster: ClusterId, registry: RegistryHost, subject: string): string {
  return [cluster, registry, subject].join('\0')
}

function toMessage(revocation: RevocationRecord): Revocation {
  return revocation.kind === 'node'
    ? { kind: 'node', node: revocation.target as NodeId }
    : { kind: 'pull', pull: revocation.target }
}
