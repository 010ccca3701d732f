import { NOWHERE } from '../core/location.ts'
import type { ClientLimits } from './client.ts'
import { RateLimit } from './engine/rate-limit.ts'
import { ACCEPTED_MAX } from './peer/peer-listener.ts'

/** What an operator sets, and may change while pulls run. */
export class Limits {
  readonly upload = newLimit()
  readonly download = newLimit()
  readonly registry = newLimit()
  peerConnectionsMax = ACCEPTED_MAX
  trackerPatienceMs = 0
  location = NOWHERE

  constructor(limits: ClientLimits) {
    this.change(limits)
  }

  change(limits: ClientLimits): void {
    this.upload.change(limits.uploadBytesPerSecondMax ?? 0)
    this.download.change(limits.downloadBytesPerSecondMax ?? 0)
    this.registry.change(limits.registryBytesPerSecondMax ?? 0)
    this.peerConnectionsMax = limits.peerConnectionsMax ?? ACCEPTED_MAX
    this.trackerPatienceMs = limits.trackerPatienceMs
    this.location = limits.location ?? NOWHERE
  }
}

function newLimit(): RateLimit {
  return new RateLimit(0, () => performance.now())
}
