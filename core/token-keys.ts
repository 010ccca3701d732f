import assert from 'node:assert/strict'
import type { JsonWebKey } from 'node:crypto'
import type { Logger } from 'pino'
import { BoundedMap } from './bounded-map.ts'
import type { Digest } from './digest.ts'
import type { RegistryClients } from './registry-client.ts'
import type { RegistryConfig } from './registry-config.ts'
import { grantsPull, isSignedBy, isValidAt, type RegistryToken, type SignedClaims } from './registry-token.ts'
import type { RegistryHost, Repository } from './repository.ts'
import { canonicalKey, isSameKey, publicKeyFor, thumbprintOf } from './token-algorithms.ts'
import { type ConfiguredKey, readTokenKeys } from './token-key-bundle.ts'
import type { TokenKey } from './tracker-api.ts'

/** Bound of probed keys, of adopted keys, and of what `all` returns: as many as a tracker's answer carries. */
export const TOKEN_KEYS_MAX = 64
/** How long a probe's result stands: a key that the registry retired is asked about again, with the next token. */
export const KEY_TRUST_MS = 24 * 3600 * 1000
/** How long a token whose probe failed is not probed again. */
export const REFUSAL_MS = 30_000
/** Bound of remembered failures; the oldest go first. */
export const REFUSALS_MAX = 1024
/** Bound of probes under way: each is at most two HEAD requests. */
export const PROBES_MAX = 32

export interface TokenKeysOptions {
  registries: RegistryClients
  /** Defaults to the configurations of `registries`. */
  configs?: readonly RegistryConfig[]
  log?: Pick<Logger, 'info'>
  /** Milliseconds since 1970; for tests. */
  nowMs?: () => number
}

export interface EstablishRequest {
  registry: RegistryHost
  /** What `parseRegistryToken(jwt)` returned. */
  token: RegistryToken
  jwt: string
  /** A repository that the token grants pull on, and a blob of it: what the probe asks the registry for. */
  repository: Repository
  digest: Digest
}

interface ProbedKey {
  key: TokenKey
  expiresAtMs: number
}

/**
 * The public keys that registry tokens are verified with. Invariant: a key gets in
 * by configuration, by a probe of the registry, or by the tracker's word, never because a token embeds it; and always
 * for one registry, issuer and audience.
 */
export class TokenKeys {
  readonly #registries: RegistryClients
  readonly #configs: ReadonlyMap<RegistryHost, RegistryConfig>
  readonly #configured = new Map<RegistryHost, ConfiguredKey[]>()
  readonly #probed = new BoundedMap<string, ProbedKey>(TOKEN_KEYS_MAX)
  #adopted: TokenKey[] = []
  readonly #probes = new Map<string, Promise<boolean>>()
  readonly #refusedUntilMs = new BoundedMap<string, number>(REFUSALS_MAX)
  readonly #log: TokenKeysOptions['log']
  readonly #nowMs: () => number

  /** @throws RegistryFileError, AuthorityBundleError when a `tokenKeysFile` cannot be used */
  constructor(options: TokenKeysOptions) {
    this.#registries = options.registries
    const configs = options.configs ?? [...options.registries.values()].map(({ config }) => config)
    this.#configs = new Map(configs.map((config) => [config.host, config]))
    for (const { host, tokenKeysFile } of configs) {
      if (tokenKeysFile !== undefined) this.#configured.set(host, readTokenKeys(tokenKeysFile))
    }
    this.#log = options.log
    this.#nowMs = options.nowMs ?? Date.now
  }

  /**
   * The trusted key that the token refers to: the one equal to its embedded key, else the one its `kid` names, else
   * the only one. The caller verifies the signature, or the proof, with it.
   */
  keyFor(registry: RegistryHost, token: SignedClaims): JsonWebKey | undefined {
    const config = this.#configs.get(registry)
    if (config === undefined) return undefined
    // The registry signs nothing there: the tracker does, in its own name.
    if (config.kind === 'introspect') return referredTo(this.#vouchedFor(registry, token), token)
    if (!isForRegistry(config, token)) return undefined
    const isPinned = config.issuer !== undefined && config.audience !== undefined
    const pinned = isPinned ? referredTo(this.#configured.get(registry) ?? [], token) : undefined
    return pinned ?? referredTo(this.#vouchedFor(registry, token), token)
  }

  /**
   * Makes sure of the key that signed the token, by asking the registry when it is not trusted yet.
   * @returns the trusted key that verified this token's signature; undefined when there is none
   * @throws RegistryUnreachableError when the registry had to be asked and did not answer
   */
  async establish(request: EstablishRequest): Promise<JsonWebKey | undefined> {
    const { registry, token } = request
    const known = this.keyFor(registry, token)
    if (known !== undefined && isSignedBy(token, known)) return known
    const candidate = this.#candidateFor(registry, token)
    // All that can be refused without the registry is: a stranger's token must not make us ask it.
    if (candidate === undefined || !isSignedBy(token, candidate)) return undefined
    if (!isValidAt(token, this.#nowMs() / 1000, 0) || !grantsPull(token, request.repository)) return undefined
    return (await this.#isAcceptedByRegistry(request, candidate)) ? candidate : undefined
  }

  /** Replaces the keys that the tracker vouches for; malformed ones are left out. */
  adopt(keys: readonly TokenKey[]): void {
    this.#adopted = keys.slice(0, TOKEN_KEYS_MAX).flatMap((key) => {
      const jwk = canonicalKey(key.jwk)
      if (jwk === undefined) return []
      const kid = typeof key.jwk.kid === 'string' ? { kid: key.jwk.kid } : {}
      return [{ ...key, jwk: { ...jwk, ...kid } }]
    })
  }

  /** What this process can vouch for itself: configured keys with their issuer and audience, and probed ones. */
  all(): TokenKey[] {
    const pinned = [...this.#configs.values()].flatMap(({ host, issuer, audience }) =>
      issuer === undefined || audience === undefined
        ? []
        : (this.#configured.get(host) ?? []).map((key) => ({
            registry: host,
            issuer,
            audience: audienceTextOf([audience]),
            jwk: { ...key.jwk, ...kidOf(key) },
          })),
    )
    return [...pinned, ...this.#liveProbed()].slice(0, TOKEN_KEYS_MAX)
  }

  #liveProbed(): TokenKey[] {
    const now = this.#nowMs()
    return [...this.#probed.values()].filter((probed) => probed.expiresAtMs > now).map(({ key }) => key)
  }

  #vouchedFor(registry: RegistryHost, token: SignedClaims): ConfiguredKey[] {
    const audience = audienceTextOf(token.audience)
    return [...this.#liveProbed(), ...this.#adopted]
      .filter((key) => key.registry === registry && key.issuer === token.issuer && key.audience === audience)
      .map(({ jwk: { kid, ...jwk } }) => ({ jwk, keyIds: new Set(typeof kid === 'string' ? [kid] : []) }))
  }

  /** A key worth a probe: the embedded one, or the configured one that `kid` names. */
  #candidateFor(registry: RegistryHost, token: SignedClaims): JsonWebKey | undefined {
    const config = this.#configs.get(registry)
    if (config?.kind !== 'token' || !isForRegistry(config, token)) return undefined
    return token.embeddedKey ?? referredTo(this.#configured.get(registry) ?? [], token)
  }

  async #isAcceptedByRegistry(request: EstablishRequest, jwk: JsonWebKey): Promise<boolean> {
    const { registry, token, repository, digest } = request
    const key = tokenKeyOf(registry, token, jwk)
    const id = idOf(key)
    // One probe per key at a time; after somebody else's failed (their token, not the key), ours has its turn.
    for (let running = this.#probes.get(id); running !== undefined; running = this.#probes.get(id)) {
      if (await running) return true
    }
    const refusal = [registry, token.hash, repository, digest].join(' ')
    if ((this.#refusedUntilMs.get(refusal) ?? 0) > this.#nowMs()) return false
    if (this.#probes.size >= PROBES_MAX) return false
    const probe = this.#probe(request)
    this.#probes.set(id, probe)
    try {
      const isAccepted = await probe
      if (isAccepted) this.#probed.set(id, { key, expiresAtMs: this.#nowMs() + KEY_TRUST_MS })
      else this.#refusedUntilMs.set(refusal, this.#nowMs() + REFUSAL_MS)
      this.#log?.info(
        { registry, issuer: key.issuer, audience: key.audience, isAccepted },
        'token key probed',
      )
      return isAccepted
    } finally {
      this.#probes.delete(id)
    }
  }

  /**
   * The registry must accept the token *and* refuse it with one bit of its signature flipped: acceptance alone proves
   * nothing, as a registry may answer 200 to a bad bearer on a public repository (Harbor does).
   */
  async #probe({ registry, token, jwt, repository, digest }: EstablishRequest): Promise<boolean> {
    // A token that differs from what the registry is shown would gain trust by another token's acceptance.
    assert(
      jwt === compactForm(token.signingInput, token.signature),
      'the token is not the one that was parsed',
    )
    const client = this.#registries.get(registry)
    if (client === undefined) return false
    const head = (bearer: string) =>
      client.headBlob({ repository, digest, authorization: `Bearer ${bearer}` })
    const asIssued = await head(jwt)
    if (!asIssued.isPresent) return false
    const forged = await head(compactForm(token.signingInput, withOneBitFlipped(token.signature)))
    return !forged.isPresent && forged.status === 401
  }
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
 * Trust is for the exact set of audiences: that a registry accepted a token for {a, b} does not say that it would
 * accept one for {b}. One audience is written as it is, several as a JSON array.
 */
function audienceTextOf(audience: readonly string[]): string {
  const [only] = audience
  const isPlain = audience.length === 1 && only !== undefined && !only.startsWith('[')
  return isPlain ? only : JSON.stringify([...audience].sort())
}

/** `kid` goes along when the token has no key of its own, so that others find the key by it. */
function tokenKeyOf(registry: RegistryHost, token: SignedClaims, jwk: JsonWebKey): TokenKey {
  const kid = token.embeddedKey === undefined && token.keyId !== undefined ? { kid: token.keyId } : {}
  const audience = audienceTextOf(token.audience)
  return { registry, issuer: token.issuer, audience, jwk: { ...jwk, ...kid } }
}

function idOf({ registry, issuer, audience, jwk }: TokenKey): string {
  return JSON.stringify([registry, issuer, audience, jwk.kid ?? null, thumbprintOf(jwk).toString('hex')])
}

function kidOf(key: ConfiguredKey): { kid: string } | Record<string, never> {
  const [kid] = key.keyIds
  return kid === undefined ? {} : { kid }
}

function compactForm(signingInput: string, signature: Buffer): string {
  return `${signingInput}.${signature.toString('base64url')}`
}

function withOneBitFlipped(signature: Buffer): Buffer {
  const flipped = Buffer.from(signature)
  flipped[0] = flipped[0]! ^ 1
  return flipped
}
