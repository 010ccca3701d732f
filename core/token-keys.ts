import type { JsonWebKey } from 'node:crypto'
import type { RegistryClients } from './registry-client.ts'
import { hasTokenKeys, type RegistryConfig } from './registry-config.ts'
import type { SignedClaims } from './registry-token.ts'
import type { RegistryHost } from './repository.ts'
import { canonicalKey, isSameKey, publicKeyFor } from './token-algorithms.ts'
import { type ConfiguredKey, readTokenKeys } from './token-key-bundle.ts'
import type { TokenKey } from './tracker-api.ts'

/** Bound of keys that the tracker vouches for: as many as its answer has. */
export const TOKEN_KEYS_MAX = 64

export interface TokenKeysOptions {
  registries: RegistryClients
  /** Defaults to the configurations of `registries`. */
  configs?: readonly RegistryConfig[]
}

/** The keys that sign peer tokens of one cluster, for every registry. */
export interface MintingKeys {
  issuer: string
  keys: readonly JsonWebKey[]
}

export interface TrustedKey {
  jwk: JsonWebKey
  /** The key is configured with its issuer and audience: its signature is enough. For other keys see tracker/pull/. */
  isConfigured: boolean
}

/**
 * The public keys that verify registry tokens. Invariant: a key enters by configuration or because the tracker vouches for
 * it (in the tracker: by its probe), never because a token embeds it. It is always for one registry, issuer and audience.
 * If a registry's keys are configured, no other key enters.
 */
export class TokenKeys {
  readonly #configOf: (registry: RegistryHost) => RegistryConfig | undefined
  readonly #allConfigs: () => RegistryConfig[]
  #configured = new Map<RegistryHost, ConfiguredKey[]>()
  #vouched: readonly TokenKey[] = []
  #minting: { issuer: string; keys: ConfiguredKey[] } | undefined

  /** @throws RegistryFileError, AuthorityBundleError if a `tokenKeysFile` cannot be used */
  constructor(options: TokenKeysOptions) {
    const { registries, configs } = options
    // The registries may grow: a node hears of some from the tracker. Those have no files.
    this.#allConfigs = () => [...(configs ?? [...registries.values()].map(({ config }) => config))]
    const given = configs && new Map(configs.map((config) => [config.host, config]))
    this.#configOf = (registry) =>
      given === undefined ? registries.get(registry)?.config : given.get(registry)
    this.configsChanged()
  }

  /** Reads the configured keys, again. @throws RegistryFileError, AuthorityBundleError; the keys of before count then */
  configsChanged(): void {
    const configured = new Map<RegistryHost, ConfiguredKey[]>()
    for (const { host, tokenKeysFile } of this.#allConfigs())
      if (tokenKeysFile !== undefined) configured.set(host, readTokenKeys(tokenKeysFile))
    this.#configured = configured
  }

  /** The trusted key that the token refers to. The caller verifies the signature, or the proof, with it. */
  keyFor(registry: RegistryHost, token: SignedClaims): JsonWebKey | undefined {
    return this.find(registry, token)?.jwk
  }

  /** Like `keyFor`: the key equal to the token's embedded one, else the one that its `kid` names, else the only one. */
  find(registry: RegistryHost, token: SignedClaims): TrustedKey | undefined {
    const config = this.#configOf(registry)
    if (config === undefined) return undefined
    const minted = this.#mintedWith(config, token)
    if (minted !== undefined) return { jwk: minted, isConfigured: false }
    if (!isForRegistry(config, token)) return undefined
    const configured = isPinned(config) ? this.#configured.get(registry) : undefined
    const jwk = referredTo(configured ?? [], token)
    if (jwk !== undefined) return { jwk, isConfigured: true }
    const vouched = referredTo(this.#vouchedFor(registry, token), token)
    return vouched === undefined ? undefined : { jwk: vouched, isConfigured: false }
  }

  /**
   * The key that the tracker may ask the registry about: the embedded one or, if keys are configured without issuer or
   * audience, the configured one that the token refers to.
   */
  candidateFor(registry: RegistryHost, token: SignedClaims): JsonWebKey | undefined {
    const config = this.#configOf(registry)
    if (config === undefined || !isForRegistry(config, token)) return undefined
    const configured = this.#configured.get(registry)
    if (configured === undefined) return token.embeddedKey
    return isPinned(config) ? undefined : referredTo(configured, token)
  }

  /**
   * Replaces the keys that the tracker vouches for. Skips malformed keys, and keys that configured ones exclude.
   * @param minting the tracker's own keys
   */
  adopt(keys: readonly TokenKey[], minting?: MintingKeys): void {
    this.#minting = minting && { issuer: minting.issuer, keys: minting.keys.flatMap(namedKey) }
    this.#vouched = keys.slice(0, TOKEN_KEYS_MAX).flatMap((key) => {
      const jwk = canonicalKey(key.jwk)
      if (jwk === undefined || !this.#mayBeVouchedFor(key.registry, jwk)) return []
      const kid = typeof key.jwk.kid === 'string' ? { kid: key.jwk.kid } : {}
      return [{ ...key, jwk: { ...jwk, ...kid } }]
    })
  }

  /** Configured keys with their issuer and audience, then those that the tracker vouches for. */
  all(): TokenKey[] {
    const pinned = this.#allConfigs().flatMap(({ host, issuer, audience }) =>
      issuer === undefined || audience === undefined
        ? []
        : (this.#configured.get(host) ?? []).map((key) => ({
            registry: host,
            issuer,
            audience: audienceTextOf([audience]),
            jwk: { ...key.jwk, ...kidOf(key) },
          })),
    )
    return [...pinned, ...this.#vouched].slice(0, TOKEN_KEYS_MAX)
  }

  #mayBeVouchedFor(registry: RegistryHost, jwk: JsonWebKey): boolean {
    const configured = this.#configured.get(registry)
    return configured === undefined || configured.some((key) => isSameKey(key.jwk, jwk))
  }

  /** The tracker's key that signed a peer token; undefined for other tokens, and where configured keys exclude it. */
  #mintedWith(config: RegistryConfig, token: SignedClaims): JsonWebKey | undefined {
    if (token.issuer !== this.#minting?.issuer || hasTokenKeys(config)) return undefined
    return audienceTextOf(token.audience) === config.host ? referredTo(this.#minting.keys, token) : undefined
  }

  #vouchedFor(registry: RegistryHost, token: SignedClaims): ConfiguredKey[] {
    const audience = audienceTextOf(token.audience)
    return this.#vouched
      .filter((key) => key.registry === registry && key.issuer === token.issuer && key.audience === audience)
      .map(({ jwk: { kid, ...jwk } }) => ({ jwk, keyIds: new Set(typeof kid === 'string' ? [kid] : []) }))
  }
}

function namedKey(key: JsonWebKey): ConfiguredKey[] {
  const jwk = canonicalKey(key)
  return jwk === undefined ? [] : [{ jwk, keyIds: new Set(typeof key.kid === 'string' ? [key.kid] : []) }]
}

/** The entry by which the tracker vouches for the key. Has the `kid` if the token embeds no key, so that others find it. */
export function tokenKeyOf(registry: RegistryHost, token: SignedClaims, jwk: JsonWebKey): TokenKey {
  const kid = token.embeddedKey === undefined && token.keyId !== undefined ? { kid: token.keyId } : {}
  const audience = audienceTextOf(token.audience)
  return { registry, issuer: token.issuer, audience, jwk: { ...jwk, ...kid } }
}

function isPinned({ issuer, audience }: RegistryConfig): boolean {
  return issuer !== undefined && audience !== undefined
}

function isForRegistry(config: RegistryConfig, token: SignedClaims): boolean {
  const isIssuer = config.issuer === undefined || config.issuer === token.issuer
  return isIssuer && (config.audience === undefined || token.audience.includes(config.audience))
}

function referredTo(keys: readonly ConfiguredKey[], token: SignedClaims): JsonWebKey | undefined {
  const named = keys.filter((key) => isNamedBy(key, token))
  const fitting = named.filter(({ jwk }) => publicKeyFor(token.algorithm, jwk) !== undefined)
  const isReferred = token.embeddedKey !== undefined || token.keyId !== undefined
  return isReferred || fitting.length === 1 ? fitting[0]?.jwk : undefined
}

function isNamedBy({ jwk, keyIds }: ConfiguredKey, { embeddedKey, keyId }: SignedClaims): boolean {
  if (embeddedKey !== undefined) return isSameKey(jwk, embeddedKey)
  return keyId === undefined || keyIds.has(keyId)
}

/**
 * Trust is for the exact set of audiences: a registry that accepted a token for {a, b} need not accept one for {b}. One
 * audience is written as it is, several as a JSON array.
 */
function audienceTextOf(audience: readonly string[]): string {
  const [only] = audience
  const isPlain = audience.length === 1 && only !== undefined && !only.startsWith('[')
  return isPlain ? only : JSON.stringify([...audience].sort())
}

function kidOf(key: ConfiguredKey): { kid: string } | Record<string, never> {
  const [kid] = key.keyIds
  return kid === undefined ? {} : { kid }
}
