import { createHash } from 'node:crypto'
import type { Logger } from 'pino'
import { RENEWED_RUNS_MAX } from '../../core/batches-api.ts'
import type { HashBatch } from '../../core/hash-batch.ts'
import type { ClusterTrustState } from '../membership/cluster-trust.ts'
import type { TrackerClient } from '../membership/tracker-client.ts'
import type { StoredBlob } from '../store/blob-store.ts'

interface BatchRenewalParts {
  stored: StoredBlob
  trust: ClusterTrustState
  tracker: TrackerClient
  log: Logger
  /** The batches are the tracker's own answer. */
  learnBatches(batches: readonly HashBatch[]): void
  /** Drops the hashes that no trusted key signed. */
  retain(isSigned: (batch: HashBatch) => boolean): void
}

/**
 * Has a swarm's hashes signed again after the tracker's signing key changed: peers would refuse them once the
 * previous key is withdrawn. Hashes that the tracker does not sign again, and that no trusted key signed, are
 * dropped: the holder of the withdrawn key may have invented them. Invariant: `#settledVersion` is the version of the
 * keys for which this was done.
 */
export class BatchRenewal {
  readonly #parts: BatchRenewalParts
  #settledVersion = -1
  #running: Promise<void> | undefined

  constructor(parts: BatchRenewalParts) {
    this.#parts = parts
  }

  /** Renews if needed. When the tracker does not answer, the next call tries again. */
  run(): Promise<void> {
    if (this.#settledVersion === this.#parts.trust.batchKeysVersion) return Promise.resolve()
    this.#running ??= this.#renew()
      .catch((error) => this.#parts.log.debug({ err: error }, 'the hashes could not be signed again'))
      .finally(() => {
        this.#running = undefined
      })
    return this.#running
  }

  async #renew(): Promise<void> {
    const { stored, trust } = this.#parts
    const { batchKeysVersion } = trust
    const isOutdated = (batch: HashBatch) => !trust.isNewlySigned(batch)
    if (stored.hashes.batches.some(isOutdated)) {
      await this.#askAnew()
      this.#parts.retain((batch) => trust.isSigned(batch))
      stored.markDirty()
      void stored.save()
    }
    this.#settledVersion = batchKeysVersion
  }

  async #askAnew(): Promise<void> {
    const { stored, tracker } = this.#parts
    const { hashes } = stored
    const { epoch } = hashes
    const runs = hashes.runs().map(({ hashes: bytes, ...run }) => ({
      ...run,
      sha256: createHash('sha256').update(bytes).digest('base64url'),
    }))
    for (let at = 0; at < runs.length; at += RENEWED_RUNS_MAX) {
      const some = runs.slice(at, at + RENEWED_RUNS_MAX)
      const { batches } = await tracker.batches(stored.swarm, { epoch, runs: some })
      // New information when the tracker has confirmed them meanwhile.
      this.#parts.learnBatches(batches)
      hashes.renew(batches)
    }
  }
}
