import type { ClientOptions } from '../../client/index.ts'
import type { RegistryConfig } from '../../core/registry-config.ts'

/** What the process with tracker and registry answers when it is open. */
export interface ShoalServices {
  client: Required<Pick<ClientOptions, 'trackerUrl' | 'trackerCaPem' | 'joinToken'>>
  registry: RegistryConfig
  /** So long after a node has stopped, the tracker hands it out to nobody. */
  peersForgottenAfterMs: number
}

/** How a Shoal peer is opened. */
export interface ShoalPeerSettings extends ShoalServices {
  dataDir: string
  /** The cache is encrypted, with a key in memory. */
  isEncrypted: boolean
}
