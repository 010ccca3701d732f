import { BoundedMap } from '../../core/bounded-map.ts'
import type { NodeId, SwarmId } from '../../core/metainfo.ts'
import type { Repository } from '../../core/repository.ts'

/** The credential that the registry accepted for a node's newest pull of a blob. In memory only; never stored or logged. */
export interface PullAccess {
  node: NodeId
  repository: Repository
  authorization: string | undefined
}

interface KeptAccess extends PullAccess {
  untilMs: number
}

/** Bound of blobs whose accesses are remembered; 32 MiB with four tokens of about 2 KiB each. */
const ACCESSES_MAX = 4096
/** Bound of accesses to one blob, each of another node: the tracker must not depend on the credential of the liar. */
export const ACCESSES_PER_SWARM_MAX = 4
/** Registry tokens rarely last longer, and disputes arise soon after the pull. */
const ACCESS_MS = 10 * 60_000

/** Credentials for fetching a piece that two nodes disagree about, and for nothing else. */
export class PullAccesses {
  readonly #bySwarm = new BoundedMap<SwarmId, KeptAccess[]>(ACCESSES_MAX)

  /**
   * @param endsAtMs when the token ends, without leeway, which a registry may not grant; undefined: not known. An expired
   *   token displaces no other.
   */
  note(swarm: SwarmId, access: PullAccess, endsAtMs: number | undefined, nowMs: number): void {
    const untilMs = Math.min(nowMs + ACCESS_MS, endsAtMs ?? Number.POSITIVE_INFINITY)
    if (untilMs <= nowMs) return
    const others = this.#live(swarm, nowMs).filter(({ node }) => node !== access.node)
    const kept = [...others, { ...access, untilMs }]
    // Drops the first to end, so that short-lived tokens under many names cannot displace others.
    if (kept.length > ACCESSES_PER_SWARM_MAX) {
      const firstEndMs = Math.min(...kept.map((one) => one.untilMs))
      kept.splice(
        kept.findIndex((one) => one.untilMs === firstEndMs),
        1,
      )
    }
    this.#bySwarm.set(swarm, kept)
  }

  /** Accesses that have not ended, the newest first. */
  usable(swarm: SwarmId, nowMs: number): PullAccess[] {
    return this.#live(swarm, nowMs).reverse()
  }

  #live(swarm: SwarmId, nowMs: number): KeptAccess[] {
    return (this.#bySwarm.get(swarm) ?? []).filter(({ untilMs }) => untilMs > nowMs)
  }
}
