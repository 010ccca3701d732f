import type { JsonWebKey } from 'node:crypto'
import type { Logger } from 'pino'
import type { Digest } from './digest.ts'
import type { RegistryClients } from './registry-client.ts'
import type { RegistryConfig } from './registry-config.ts'
import type { RegistryToken, SignedClaims } from './registry-token.ts'
import type { RegistryHost, Repository } from './repository.ts'
import type { TokenKey } from './tracker-api.ts'

export interface TokenKeysOptions {
  registries: RegistryClients
  configs?: RegistryConfig[]
  log?: Logger
}
export interface EstablishRequest {
  registry: RegistryHost
  token: RegistryToken
  jwt: string
  repository: Repository
  digest: Digest
}
export class TokenKeys {
  constructor(_options: TokenKeysOptions) {}
  keyFor(_registry: RegistryHost, _token: SignedClaims): JsonWebKey | undefined {
    return undefined
  }
  async establish(_request: EstablishRequest): Promise<JsonWebKey | undefined> {
    return undefined
  }
  adopt(_keys: TokenKey[]): void {}
  all(): TokenKey[] {
    return []
  }
}
