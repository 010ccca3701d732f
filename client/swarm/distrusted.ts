import { BoundedMap } from '../../core/bounded-map.ts'
import type { SwarmId } from '../../core/metainfo.ts'
import { BlobDistrustedError } from '../errors.ts'

/** A digest whose copy from the swarm was wrong bypasses the swarm for this time. */
const DISTRUST_MS = 10 * 60 * 1000
/** Remembered wrong digests, a swarm id and a time each. */
const DISTRUSTED_MAX = 1024

/** Blobs whose copy from the swarm was wrong. */
export class Distrusted {
  readonly #untilMs = new BoundedMap<SwarmId, number>(DISTRUSTED_MAX)

  add(swarm: SwarmId): void {
    this.#untilMs.set(swarm, Date.now() + DISTRUST_MS)
  }

  /** @throws BlobDistrustedError */
  check(swarm: SwarmId): void {
    if ((this.#untilMs.get(swarm) ?? 0) > Date.now())
      throw new BlobDistrustedError('a copy of this blob from the swarm was wrong')
  }
}
