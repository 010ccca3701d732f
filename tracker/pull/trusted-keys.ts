import { createHash, type JsonWebKey } from 'node:crypto'
import type { Logger } from 'pino'
import type { ClusterId, NodeId } from '../../core/metainfo.ts'
import type { RegistryClients } from '../../core/registry-client.ts'
import { hasTokenKeys, type RegistryConfig } from '../../core/registry-config.ts'
import type { RegistryToken, SignedClaims } from '../../core/registry-token.ts'
import { type RegistryHost, scopeOf } from '../../core/repository.ts'
import { thumbprintOf } from '../../core/token-algorithms.ts'
import { TOKEN_KEYS_MAX, type TokenKeys, tokenKeyOf } from '../../core/token-keys.ts'
import type { TokenKey } from '../../core/tracker-api.ts'
import { RefusedError, TooManyRequestsError } from '../errors.ts'
import { RequestLimits } from '../request-limits.ts'
import type { AuditEntry } from '../store/audit.ts'
import type { ActedBy, TokenKeyRecord } from '../store/store.ts'
import { isKeyOfRegistry, PROBE_PAUSE_MS, PROBE_ROUNDS, type ProbeQuestion } from './probe-key.ts'
import type { StoredTokenKeys } from './stored-token-keys.ts'

/** How long a probe's result is valid. */
export const KEY_TRUST_MS = 24 * 3600 * 1000
/** A key with less time left is probed again beside the next grant; longer than a pull lasts (PULL_SECONDS_MAX). */
export const KEY_RENEWED_BEFORE_MS = 8 * 3600 * 1000
/** Probes of one key a day, for all callers together: a probe is 18 requests over 45 s, 36 where HEAD is late, six of them with a bad signature. */
export const PROBES_PER_KEY_AND_DAY_MAX = 4
/** Failed probes of one trusted key that one node may cause a day: fewer than all of the key's, so that others can renew it. */
export const FAILED_RENEWALS_PER_NODE_AND_DAY_MAX = 2
/** Failed probes of one node a day: an attacker can make any number of keys. */
export const FAILED_PROBES_PER_NODE_AND_DAY_MAX = 8
/** Failed probes at one registry a day: an attacker may have several nodes. Trusted keys are probed again in any case. */
export const FAILED_PROBES_PER_REGISTRY_AND_DAY_MAX = 64
/** Bound of probes in flight. */
export const PROBES_MAX = 32
const DAY_SECONDS = 24 * 3600
/** Length of a key's id: 64 bits tell keys apart. */
const ID_HEX_DIGITS = 16
/** Length of an issuer in the audit log: a token may contain any text. */
const ISSUER_CHARS_MAX = 200

/** The key that a token names, and how far it is trusted. The caller verifies the signature, once. */
export interface Signer {
  jwk: JsonWebKey
  /**
   * `configured`: the signature is enough. `probed`: the registry verifies signatures with it, but must also have accepted
   * the token. `unknown`: worth a probe, once the registry has accepted the token.
   */
  standing: 'configured' | 'probed' | 'unknown'
  /** RFC 7638, base64url; null for configured keys. */
  thumbprint: string | null
}

interface Asker {
  cluster: ClusterId
  node: NodeId
}

/**
 * The token keys that this tracker trusts: configured keys, and keys that a probe confirmed. Invariant: a probed key is
 * stored with the node whose token led to it before anybody hears of it. A withdrawn key never counts for its registry
 * again, under any issuer and audience, unless it is configured.
 */
export class TrustedKeys {
  readonly #keys: TokenKeys
  readonly #registries: RegistryClients
  readonly #stored: StoredTokenKeys
  readonly #log: Logger
  readonly #nowMs: () => number
  readonly #records: Map<string, TokenKeyRecord>
  readonly #probes = new Map<string, Promise<boolean>>()
  readonly #probesOfKey: RequestLimits
  readonly #failedRenewals: RequestLimits
  readonly #failuresOfNode: RequestLimits
  readonly #failuresAtRegistry: RequestLimits
  readonly #probePauseMs: number
  readonly #closed = new AbortController()
  /** When the next key ends. */
  #changesAtMs = 0

  static async load(options: TrustedKeysOptions): Promise<TrustedKeys> {
    return new TrustedKeys(options, await options.stored.load())
  }

  private constructor(options: TrustedKeysOptions, records: readonly TokenKeyRecord[]) {
    this.#keys = options.tokenKeys
    this.#registries = options.registries
    this.#stored = options.stored
    this.#log = options.log
    this.#nowMs = options.nowMs
    this.#probePauseMs = options.probePauseMs ?? PROBE_PAUSE_MS
    this.#records = new Map(records.map((record) => [record.id, record]))
    this.#probesOfKey = daily(PROBES_PER_KEY_AND_DAY_MAX, options.log)
    this.#failedRenewals = daily(FAILED_RENEWALS_PER_NODE_AND_DAY_MAX, options.log)
    this.#failuresOfNode = daily(FAILED_PROBES_PER_NODE_AND_DAY_MAX, options.log)
    this.#failuresAtRegistry = daily(FAILED_PROBES_PER_REGISTRY_AND_DAY_MAX, options.log)
    this.#refresh()
  }

  /** Undefined if no key counts or could count. */
  signerOf(registry: RegistryHost, token: SignedClaims): Signer | undefined {
    if (this.#nowMs() >= this.#changesAtMs) this.#refresh()
    const trusted = this.#keys.find(registry, token)
    if (trusted?.isConfigured) return { jwk: trusted.jwk, standing: 'configured', thumbprint: null }
    const jwk = trusted?.jwk ?? this.#keys.candidateFor(registry, token)
    if (jwk === undefined) return undefined
    const thumbprint = thumbprintTextOf(jwk)
    if (this.isWithdrawn(registry, thumbprint)) return undefined
    return { jwk, standing: trusted === undefined ? 'unknown' : 'probed', thumbprint }
  }

  /** Whether the token names a key that an administrator withdrew. */
  isOfWithdrawnKey(registry: RegistryHost, token: SignedClaims): boolean {
    const jwk = this.#keys.candidateFor(registry, token)
    return jwk !== undefined && this.isWithdrawn(registry, thumbprintTextOf(jwk))
  }

  isWithdrawn(registry: RegistryHost, thumbprint: string): boolean {
    for (const { key, withdrawnAtMs } of this.#records.values()) {
      if (withdrawnAtMs === null || key.registry !== registry) continue
      if (thumbprintTextOf(key.jwk) === thumbprint) return true
    }
    return false
  }

  /** The keys that count now; members of clusters hear of them. */
  all(): TokenKey[] {
    if (this.#nowMs() >= this.#changesAtMs) this.#refresh()
    return this.#keys.all()
  }

  /** Probed keys that count now, and withdrawn ones. */
  list(): TokenKeyRecord[] {
    return [...this.#records.values()].filter(
      (record) => record.withdrawnAtMs !== null || this.#counts(record),
    )
  }

  /**
   * Whether probes of this registry's keys are spread over time, so that no pull waits for them and no limit of requests is
   * met. Where keys are configured, nothing but a trusted key opens a pull, so that the first one waits.
   */
  isSpread(config: RegistryConfig): boolean {
    return this.#probePauseMs > 0 && !hasTokenKeys(config)
  }

  /**
   * Asks the registry about a key with a token that it has accepted, at once, unless a probe of that key is already in
   * flight.
   * @param jwk the key that verified the token's signature
   * @returns whether the key is trusted now
   * @throws RegistryUnreachableError; RefusedError REGISTRY_LIMITED, REGISTRY_UNREACHABLE
   */
  async probe(question: ProbeQuestion, jwk: JsonWebKey, by: Asker): Promise<boolean> {
    const key = tokenKeyOf(question.registry.host, question.token, jwk)
    const id = this.#idOf(key)
    // Another caller's probe may fail because of its token and not the key, so ours runs next.
    for (let running = this.#probes.get(id); running !== undefined; running = this.#probes.get(id)) {
      if (await running.catch(() => false)) return true
    }
    if (this.#probes.size >= PROBES_MAX) return false
    return this.#inFlight(id, this.#probeNow(question, { id, key }, by, 0))
  }

  /** Begins a probe that is spread over time, unless one of that key is in flight. Nobody waits for it. */
  beginProbe(question: ProbeQuestion, jwk: JsonWebKey, by: Asker): void {
    const key = tokenKeyOf(question.registry.host, question.token, jwk)
    const id = this.#idOf(key)
    if (this.#probes.has(id) || this.#probes.size >= PROBES_MAX) return
    const pauseMs = pauseFor(question.token, this.#probePauseMs, this.#nowMs())
    this.#inFlight(id, this.#probeNow(question, { id, key }, by, pauseMs)).catch((error) => {
      if (!this.#closed.signal.aborted)
        this.#log.warn({ err: error, tokenKey: id }, 'cannot probe a token key')
    })
  }

  /** Takes up what another tracker put into the store. */
  async reload(): Promise<void> {
    const records = await this.#stored.load()
    this.#records.clear()
    for (const record of records) this.#records.set(record.id, record)
    this.#refresh()
  }

  /** Ends the probes in flight. */
  close(): void {
    this.#closed.abort()
  }

  async #inFlight(id: string, probe: Promise<boolean>): Promise<boolean> {
    this.#probes.set(id, probe)
    try {
      return await probe
    } finally {
      this.#probes.delete(id)
    }
  }

  /** Like `beginProbe`, for a trusted key whose trust ends soon. A failure changes nothing. */
  renewBeforeEnd(question: ProbeQuestion, jwk: JsonWebKey, by: Asker): void {
    const record = this.#records.get(this.#idOf(tokenKeyOf(question.registry.host, question.token, jwk)))
    if (record === undefined || record.trustedUntilMs - this.#nowMs() > KEY_RENEWED_BEFORE_MS) return
    this.beginProbe(question, jwk, by)
  }

  /** @throws RefusedError TOKEN_KEY_UNKNOWN */
  async withdraw(id: string, { actor, nowMs }: ActedBy): Promise<TokenKeyRecord[]> {
    const named = this.#records.get(id)
    if (named === undefined) throw new RefusedError('TOKEN_KEY_UNKNOWN', 'no such token key is on record')
    const same = [...this.#records.values()].filter(
      ({ key }) =>
        key.registry === named.key.registry && thumbprintTextOf(key.jwk) === thumbprintTextOf(named.key.jwk),
    )
    const withdrawn = same.map((record) => ({ ...record, withdrawnAtMs: record.withdrawnAtMs ?? nowMs }))
    for (const record of withdrawn) {
      await this.#stored.put(record, auditOf(record, 'token key withdrawn', { actor, atMs: nowMs }))
      this.#records.set(record.id, record)
    }
    this.#refresh()
    return withdrawn
  }

  /** Forgets the keys whose trust has ended, and notes it in the audit log. */
  async forgetEnded(): Promise<void> {
    const atMs = this.#nowMs()
    for (const record of this.#records.values()) {
      if (record.withdrawnAtMs === null && record.trustedUntilMs <= atMs) await this.#forget(record, atMs)
    }
  }

  async #probeNow(
    question: ProbeQuestion,
    { id, key }: { id: string; key: TokenKey },
    by: Asker,
    pauseMs: number,
  ): Promise<boolean> {
    const { host } = question.registry
    const bounds = this.#boundsOf(id, host, by)
    const full = bounds.findIndex(({ limits, name }) => !hasRoom(limits, name, this.#nowMs()))
    // A probe that does not begin uses up nothing.
    for (const { limits, name } of bounds.slice(0, Math.max(0, full))) limits.giveBack(name)
    if (full !== -1) return false
    const { signal } = this.#closed
    const isTrusted = await isKeyOfRegistry(question, { pauseMs, signal }).catch((error: unknown) => {
      // A registry that does not answer, or told the tracker to wait, says nothing about the key or the node.
      for (const { limits, name } of bounds) limits.giveBack(name)
      throw error
    })
    const facts = { registry: host, issuer: key.issuer, audience: key.audience, tokenKey: id, node: by.node }
    this.#log[isTrusted ? 'info' : 'warn']({ ...facts, isTrusted }, 'token key probed')
    if (!isTrusted) return false
    for (const { limits, name, isOfFailures } of bounds) if (isOfFailures) limits.giveBack(name)
    // A withdrawal in the meantime wins.
    if (this.isWithdrawn(host, thumbprintTextOf(key.jwk))) return false
    const probedAtMs = this.#nowMs()
    const trustedUntilMs = probedAtMs + KEY_TRUST_MS
    await this.#put({ id, key, probedAtMs, trustedUntilMs, withdrawnAtMs: null }, by)
    return true
  }

  #boundsOf(id: string, registry: RegistryHost, { cluster, node }: Asker) {
    const ofNode = { limits: this.#failuresOfNode, name: `${cluster} ${node}`, isOfFailures: true }
    const ofRegistry = { limits: this.#failuresAtRegistry, name: registry, isOfFailures: true }
    const ofKey = { limits: this.#probesOfKey, name: id, isOfFailures: false }
    const record = this.#records.get(id)
    // Failed attempts of others must not end the trust in a trusted key.
    if (record === undefined || !this.#counts(record)) return [ofNode, ofRegistry, ofKey]
    const name = `${id} ${cluster} ${node}`
    return [ofNode, { limits: this.#failedRenewals, name, isOfFailures: true }, ofKey]
  }

  async #put(record: TokenKeyRecord, { cluster, node }: Asker): Promise<void> {
    const audit = auditOf(record, 'token key probed', { actor: `node ${node}`, atMs: record.probedAtMs })
    await this.#stored.put(record, { ...audit, cluster })
    // Inserts the key as the newest.
    this.#records.delete(record.id)
    this.#records.set(record.id, record)
    const trusted = [...this.#records.values()].filter(({ withdrawnAtMs }) => withdrawnAtMs === null)
    for (const oldest of trusted.slice(0, -TOKEN_KEYS_MAX)) await this.#forget(oldest, record.probedAtMs)
    this.#refresh()
  }

  async #forget(record: TokenKeyRecord, atMs: number): Promise<void> {
    this.#records.delete(record.id)
    await this.#stored.remove(record.id, auditOf(record, 'token key expired', { actor: 'tracker', atMs }))
  }

  /** A key that was probed at another path of the registry's host has another id. */
  #counts({ id, key, trustedUntilMs, withdrawnAtMs }: TokenKeyRecord): boolean {
    const isOfRegistry = this.#registries.has(key.registry) && id === this.#idOf(key)
    return isOfRegistry && withdrawnAtMs === null && trustedUntilMs > this.#nowMs()
  }

  #idOf({ registry: host, issuer, audience, jwk }: TokenKey): string {
    const scope = scopeOf(this.#registries.get(host) ?? { host })
    const text = JSON.stringify([scope, issuer, audience, jwk.kid ?? null, thumbprintTextOf(jwk)])
    return createHash('sha256').update(text).digest('hex').slice(0, ID_HEX_DIGITS)
  }

  #refresh(): void {
    const live = [...this.#records.values()].filter((record) => this.#counts(record))
    this.#keys.adopt(live.map(({ key }) => key))
    this.#changesAtMs = Math.min(...live.map(({ trustedUntilMs }) => trustedUntilMs))
  }
}

export interface TrustedKeysOptions {
  tokenKeys: TokenKeys
  registries: RegistryClients
  stored: StoredTokenKeys
  log: Logger
  nowMs: () => number
  /** Before each round of a probe; 0: a pull waits for the probe. Default: PROBE_PAUSE_MS. */
  probePauseMs?: number | undefined
}

/** Shorter for a token that ends before its probe would. */
function pauseFor({ expiresAtSeconds }: RegistryToken, pauseMs: number, nowMs: number): number {
  if (expiresAtSeconds === undefined) return pauseMs
  return Math.max(0, Math.min(pauseMs, (expiresAtSeconds * 1000 - nowMs) / (PROBE_ROUNDS + 2)))
}

function daily(perDayMax: number, log: Logger): RequestLimits {
  const bounds = { requestsPerSecondMax: perDayMax / DAY_SECONDS, requestsBurstMax: perDayMax }
  return new RequestLimits({ ...bounds, requestsConcurrentMax: 0 }, log)
}

/** Takes one from the limit if one is left. */
function hasRoom(limits: RequestLimits, name: string, nowMs: number): boolean {
  try {
    limits.enter(name, nowMs)()
    return true
  } catch (error) {
    if (error instanceof TooManyRequestsError) return false
    throw error
  }
}

function thumbprintTextOf(jwk: JsonWebKey): string {
  return thumbprintOf(jwk).toString('base64url')
}

function auditOf(
  { id, key }: TokenKeyRecord,
  action: string,
  { actor, atMs }: { actor: string; atMs: number },
): AuditEntry {
  const target = `${id} of ${key.registry}, issuer ${key.issuer.slice(0, ISSUER_CHARS_MAX)}`
  return { atMs, actor, action, cluster: null, target }
}
