import { timingSafeEqual } from 'node:crypto'
import { clusterOfJoinToken, joinTokenHash } from '../../core/join-token.ts'
import type { ClusterId } from '../../core/metainfo.ts'
import { type RefusalCode, RefusedError } from '../errors.ts'
import type { JoinTokenRecord } from '../store/join-tokens.ts'
import type { ActedBy, Store } from '../store/store.ts'
import type { Cluster } from './cluster.ts'
import type { Clusters } from './clusters.ts'
import { auditOf, type NewJoinToken, sealJoinToken } from './new-cluster.ts'
import { placeOf, type Sealer } from './sealer.ts'

/** Bound of the valid tokens of a cluster: each join is compared with all. */
export const JOIN_TOKENS_MAX = 64

type Standing = 'live' | 'withdrawn' | 'expired' | 'used up'

const REFUSALS: Record<Exclude<Standing, 'live'>, { code: RefusalCode; message: string }> = {
  withdrawn: { code: 'JOIN_TOKEN_REVOKED', message: 'the join token was withdrawn' },
  expired: { code: 'JOIN_TOKEN_EXPIRED', message: 'the join token has expired' },
  'used up': {
    code: 'JOIN_TOKEN_USED_UP',
    message: 'as many nodes as permitted have joined with this join token',
  },
}

/** What administrators see of a join token: all but its hash. */
export interface JoinTokenLine extends Omit<JoinTokenRecord, 'sealedHash'> {
  standing: Standing
}

/** The join tokens of all clusters. Only the holder of a whole token learns why it is refused. */
export class JoinTokens {
  readonly #store: Store
  readonly #sealer: Sealer
  readonly #clusters: Clusters

  constructor({ store, sealer, clusters }: { store: Store; sealer: Sealer; clusters: Clusters }) {
    this.#store = store
    this.#sealer = sealer
    this.#clusters = clusters
  }

  /**
   * @param replaces ends all others of the cluster
   * @throws RefusedError CLUSTER_UNKNOWN, JOIN_TOKENS_TOO_MANY
   */
  add(
    clusterId: ClusterId,
    token: NewJoinToken,
    { replaces }: { replaces: boolean },
    by: ActedBy,
  ): Promise<JoinTokenLine> {
    return this.#sealer.inTurn(async () => {
      this.#clusters.get(clusterId)
      const others = replaces ? [] : await this.list(clusterId, by.nowMs)
      if (others.filter(({ standing }) => standing === 'live').length >= JOIN_TOKENS_MAX) {
        throw new RefusedError(
          'JOIN_TOKENS_TOO_MANY',
          `this cluster has ${JOIN_TOKENS_MAX} valid join tokens already`,
        )
      }
      const record = sealJoinToken(this.#sealer, clusterId, token, by.nowMs)
      const action = replaces ? 'join token changed' : 'join token added'
      await this.#store.addJoinToken(record, { replaces }, auditOf(by, action, clusterId, record.id))
      if (replaces) this.#clusters.joinTokensChanged()
      return lineOf(record, by.nowMs)
    })
  }

  /** Newest first, with those that ended within a week. @throws RefusedError CLUSTER_UNKNOWN */
  async list(clusterId: ClusterId, nowMs: number): Promise<JoinTokenLine[]> {
    this.#clusters.get(clusterId)
    return (await this.#store.joinTokens(clusterId)).map((record) => lineOf(record, nowMs))
  }

  /** @throws RefusedError CLUSTER_UNKNOWN, JOIN_TOKEN_UNKNOWN */
  async withdraw(clusterId: ClusterId, id: string, by: ActedBy): Promise<void> {
    this.#clusters.get(clusterId)
    const audit = auditOf(by, 'join token withdrawn', clusterId, id)
    if (!(await this.#store.withdrawJoinToken(clusterId, id, audit))) {
      throw new RefusedError(
        'JOIN_TOKEN_UNKNOWN',
        'the cluster has no such join token, or it was withdrawn before',
      )
    }
    this.#clusters.joinTokensChanged()
  }

  /**
   * The cluster of a join token, and its id. An unknown cluster and a wrong token get the same answer.
   * @param isMember whether the node is on record already: then this join counts as no further use
   * @throws RefusedError JOIN_REFUSED, JOIN_TOKEN_REVOKED, JOIN_TOKEN_EXPIRED, JOIN_TOKEN_USED_UP
   */
  async check(
    joinToken: string,
    nowMs: number,
    isMember: (cluster: ClusterId) => Promise<boolean>,
  ): Promise<{ cluster: Cluster; id: string }> {
    const id = clusterOfJoinToken(joinToken)
    const record = id && (await this.#recordOf(id, joinTokenHash(joinToken), nowMs))
    if (record === undefined) {
      throw new RefusedError('JOIN_REFUSED', 'the tracker does not know this join token')
    }
    const standing = standingOf(record, nowMs)
    if (standing !== 'live' && !(standing === 'used up' && (await isMember(record.cluster)))) {
      throw refusedFor(standing)
    }
    return { cluster: this.#clusters.get(record.cluster), id: record.id }
  }

  /** Whether a node may join with it. @param hash SHA-256 (64 hex digits) of the whole token */
  async isLive(clusterId: ClusterId, hash: string, nowMs: number): Promise<boolean> {
    const record = await this.#recordOf(clusterId, hash, nowMs)
    return record !== undefined && standingOf(record, nowMs) === 'live'
  }

  /** A token may be on record twice: the valid record comes first. */
  async #recordOf(clusterId: ClusterId, hash: string, nowMs: number): Promise<JoinTokenRecord | undefined> {
    const isKnown = this.#clusters.list().some(({ cluster }) => cluster === clusterId)
    const records = isKnown ? await this.#store.joinTokens(clusterId) : []
    const wanted = Buffer.from(hash, 'hex')
    const same = records.filter(({ sealedHash }) =>
      timingSafeEqual(this.#sealer.open(placeOf('joinToken', clusterId), sealedHash), wanted),
    )
    return same.find((record) => standingOf(record, nowMs) === 'live') ?? same[0]
  }
}

/** For a token that was used up between the check and the join. */
export function usedUp(): RefusedError {
  return refusedFor('used up')
}

function refusedFor(standing: Exclude<Standing, 'live'>): RefusedError {
  const { code, message } = REFUSALS[standing]
  return new RefusedError(code, message)
}

function standingOf(
  { validUntilMs, usesMax, uses, withdrawnAtMs }: JoinTokenRecord,
  nowMs: number,
): Standing {
  if (withdrawnAtMs !== null) return 'withdrawn'
  if (validUntilMs !== null && validUntilMs <= nowMs) return 'expired'
  return usesMax !== null && uses >= usesMax ? 'used up' : 'live'
}

function lineOf({ sealedHash: _, ...record }: JoinTokenRecord, nowMs: number): JoinTokenLine {
  return { ...record, standing: standingOf({ sealedHash: _, ...record }, nowMs) }
}
