import { noteSkew } from '../../core/clock-skew.ts'
import type { ConditionCode, Conditions } from '../../core/conditions.ts'
import { isSettledWithin } from '../../core/patience.ts'
import type { RegistryClient, RegistryUnreachableError } from '../../core/registry-client.ts'
import { isAboutTime, type RegistryFailure, registryFailure } from '../../core/registry-failure.ts'
import type { RegistryHost } from '../../core/repository.ts'
import { failureText } from '../../core/trusted-authorities.ts'

/**
 * Whether this process can speak with each registry, found out before a client needs to know. Invariant: while a registry
 * is not known to work, a probe of it runs or its timer does.
 */

/**
 * How long a registry that worked is taken to work. After that a CONNECT verifies it anew, since a request that fails
 * inside an intercepted connection can no longer be tunnelled.
 */
export const WORKING_MS = 30_000
/** How long a CONNECT waits for a probe. A registry that takes longer is intercepted, as if it worked. */
export const PROBE_PATIENCE_MS = 300
/** Time from a failed probe to the next … */
export const PROBE_AGAIN_MS = 5_000
/** … which doubles up to this bound. */
export const PROBE_AGAIN_MS_MAX = 60_000

const CONDITION_OF: Record<RegistryFailure, ConditionCode> = {
  certificate: 'REGISTRY_UNVERIFIED',
  identity: 'REGISTRY_CLIENT_CERTIFICATE',
  plain: 'REGISTRY_PLAIN_HTTP',
  silent: 'REGISTRY_UNREACHABLE',
  tls: 'REGISTRY_TLS',
}

/**
 * The rule: a registry that answers, but not in a way that this process can use, is tunnelled, because the client may know
 * better (another authority, another certificate, plain HTTP). A registry that does not answer stays intercepted: a tunnel
 * would meet the same silence, while the cluster's copies can still be served to those whom the registry accepted before.
 */
function isLeftToClients(failure: RegistryFailure): boolean {
  return failure !== 'silent'
}

interface Standing {
  failure?: RegistryFailure
  /** When the registry last worked. */
  workedMs: number
  /** When the last probe began. */
  probedMs: number
  again: ReturnType<typeof setTimeout> | undefined
  againMs: number
  probe?: Promise<void> | undefined
}

export class RegistryReach {
  readonly #conditions: Conditions
  readonly #nowMs: () => number
  /** One for each configured registry. */
  readonly #standings = new Map<RegistryHost, Standing>()
  #isClosed = false

  constructor({
    conditions,
    nowMs = () => performance.now(),
  }: { conditions: Conditions; nowMs?: () => number }) {
    this.#conditions = conditions
    this.#nowMs = nowMs
  }

  /** Probes every registry, before the first client comes. */
  start(registries: Iterable<RegistryClient>): void {
    for (const registry of registries) void this.#probe(registry)
  }

  /** Whether connections to the registry are tunnelled now. Waits for a probe if nothing recent is known. */
  async isTunnelled(registry: RegistryClient): Promise<boolean> {
    const standing = this.#standingOf(registry)
    if (standing.failure === undefined && this.#nowMs() - standing.workedMs > WORKING_MS) {
      await isSettledWithin(this.#probe(registry), PROBE_PATIENCE_MS)
    }
    // A client is here, so ask again sooner than the timer would: somebody may have mended it.
    if (standing.failure !== undefined && this.#nowMs() - standing.probedMs > PROBE_AGAIN_MS)
      void this.#probe(registry)
    return standing.failure !== undefined && isLeftToClients(standing.failure)
  }

  /**
   * A request to the registry failed.
   * @returns whether the next connection to it is tunnelled
   */
  failed(registry: RegistryClient, { cause }: RegistryUnreachableError): boolean {
    const failure = registryFailure(cause)
    const isSure = isLeftToClients(failure) && failure !== 'tls'
    if (isSure) this.#fail(registry, cause as Error)
    // A request may break by itself; whether the registry is silent, or ends TLS, is for a probe to say.
    else void this.#probe(registry)
    return isSure
  }

  close(): void {
    this.#isClosed = true
    for (const { again } of this.#standings.values()) clearTimeout(again)
  }

  #standingOf({ host }: RegistryClient): Standing {
    const known = this.#standings.get(host)
    if (known !== undefined) return known
    const never = Number.NEGATIVE_INFINITY
    const standing: Standing = { workedMs: never, probedMs: never, again: undefined, againMs: PROBE_AGAIN_MS }
    this.#standings.set(host, standing)
    return standing
  }

  #probe(registry: RegistryClient): Promise<void> {
    const standing = this.#standingOf(registry)
    if (standing.probe === undefined) standing.probedMs = this.#nowMs()
    standing.probe ??= registry
      .verify()
      .then(
        () => this.#work(registry),
        (error: Error) => this.#fail(registry, error),
      )
      .finally(() => {
        standing.probe = undefined
      })
    return standing.probe
  }

  #work(registry: RegistryClient): void {
    const standing = this.#standingOf(registry)
    clearTimeout(standing.again)
    delete standing.failure
    standing.workedMs = this.#nowMs()
    standing.againMs = PROBE_AGAIN_MS
    for (const code of Object.values(CONDITION_OF)) this.#conditions.clear(code, registry.host)
    this.#conditions.clear('CLOCK_SKEWED', registry.host)
  }

  #fail(registry: RegistryClient, error: Error): void {
    if (this.#isClosed) return
    const standing = this.#standingOf(registry)
    const failure = registryFailure(error)
    if (standing.failure !== failure) {
      for (const code of Object.values(CONDITION_OF)) {
        if (code !== CONDITION_OF[failure]) this.#conditions.clear(code, registry.host)
      }
    }
    standing.failure = failure
    this.#conditions.raise(CONDITION_OF[failure], registry.host, { reason: failureText(error, 'caFile') })
    if (isAboutTime(error)) void this.#compareClocks(registry)
    clearTimeout(standing.again)
    standing.again = setTimeout(() => void this.#probe(registry), standing.againMs)
    standing.again.unref()
    standing.againMs = Math.min(2 * standing.againMs, PROBE_AGAIN_MS_MAX)
  }

  async #compareClocks(registry: RegistryClient): Promise<void> {
    const seconds = await registry.clockAheadSeconds()
    if (!this.#isClosed) noteSkew(this.#conditions, registry.host, seconds)
  }
}
