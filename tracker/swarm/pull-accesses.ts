import { BoundedMap } from '../../core/bounded-map.ts'
import type { SwarmId } from '../../core/metainfo.ts'
import type { Repository } from '../../core/repository.ts'

/** With what the newest pull of a blob was let in by the registry. In memory only: never stored, never logged. */
export interface PullAccess {
  repository: Repository
  authorization: string | undefined
}

/** Bound of blobs whose access is remembered; a token is some 2 KiB. */
const ACCESSES_MAX = 4096
/** Registry tokens rarely last longer, and a dispute comes soon after the pull. */
const ACCESS_MS = 10 * 60_000

/** For fetching a piece that two nodes disagree about, and for nothing else. */
export class PullAccesses {
  readonly #bySwarm = new BoundedMap<SwarmId, PullAccess & { untilMs: number }>(ACCESSES_MAX)

  note(swarm: SwarmId, access: PullAccess, nowMs: number): void {
    this.#bySwarm.set(swarm, { ...access, untilMs: nowMs + ACCESS_MS })
  }

  newest(swarm: SwarmId, nowMs: number): PullAccess | undefined {
    const access = this.#bySwarm.get(swarm)
    return access !== undefined && access.untilMs > nowMs ? access : undefined
  }
}
