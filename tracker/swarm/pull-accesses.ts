import { BoundedMap } from '../../core/bounded-map.ts'
import type { NodeId, SwarmId } from '../../core/metainfo.ts'
import type { Repository } from '../../core/repository.ts'

/** With what a node's newest pull of a blob was let in by the registry. In memory only: never stored, never logged. */
export interface PullAccess {
  node: NodeId
  repository: Repository
  authorization: string | undefined
}

interface KeptAccess extends PullAccess {
  untilMs: number
}

/** Bound of blobs whose accesses are remembered; with four tokens of some 2 KiB each 32 MiB. */
const ACCESSES_MAX = 4096
/** Bound of accesses to one blob, each of another node: whoever is at fault in a dispute is not the only one to ask with. */
export const ACCESSES_PER_SWARM_MAX = 4
/** Registry tokens rarely last longer, and a dispute comes soon after the pull. */
const ACCESS_MS = 10 * 60_000

/** For fetching a piece that two nodes disagree about, and for nothing else. */
export class PullAccesses {
  readonly #bySwarm = new BoundedMap<SwarmId, KeptAccess[]>(ACCESSES_MAX)

  /**
   * @param endsAtMs when the token ends, to the letter: a registry need not share our leeway. Undefined: not known.
   * One that is over already displaces none.
   */
  note(swarm: SwarmId, access: PullAccess, endsAtMs: number | undefined, nowMs: number): void {
    const untilMs = Math.min(nowMs + ACCESS_MS, endsAtMs ?? Number.POSITIVE_INFINITY)
    if (untilMs <= nowMs) return
    const others = this.#live(swarm, nowMs).filter(({ node }) => node !== access.node)
    const kept = [...others, { ...access, untilMs }]
    // Among too many the first to end goes: short-lived tokens of many names push out nobody's.
    if (kept.length > ACCESSES_PER_SWARM_MAX) {
      const firstEndMs = Math.min(...kept.map((one) => one.untilMs))
      kept.splice(
        kept.findIndex((one) => one.untilMs === firstEndMs),
        1,
      )
    }
    this.#bySwarm.set(swarm, kept)
  }

  /** Those that have not ended, the newest first. */
  usable(swarm: SwarmId, nowMs: number): PullAccess[] {
    return this.#live(swarm, nowMs).reverse()
  }

  #live(swarm: SwarmId, nowMs: number): KeptAccess[] {
    return (this.#bySwarm.get(swarm) ?? []).filter(({ untilMs }) => untilMs > nowMs)
  }
}
