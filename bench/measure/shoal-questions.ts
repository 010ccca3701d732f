import type { ClientOptions } from '../../client/index.ts'
import type { RegistryConfig } from '../../core/registry-config.ts'

/** The first answer of the process with tracker and registry. */
export interface ShoalServices {
  client: Required<Pick<ClientOptions, 'trackerUrl' | 'trackerCaPem' | 'joinToken'>>
  registry: RegistryConfig
  /** After this time the tracker names a stopped node to nobody. */
  peersForgottenAfterMs: number
}

/** Settings of a Shoal peer. */
export interface ShoalPeerSettings extends ShoalServices {
  dataDir: string
  /** The cache is encrypted, with a key in memory. */
  isEncrypted: boolean
}
