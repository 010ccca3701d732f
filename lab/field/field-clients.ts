import { setTimeout as delay } from 'node:timers/promises'
import { LabClosedError } from '../errors.ts'
import { labCgroup } from '../machine/leftovers.ts'
import type { LabHost } from '../machine/network.ts'
import type { LabRun } from '../machine/run.ts'
import { type CurlFetch, makeCurl } from '../pullers/curl.ts'
import { type Docker, startDocker } from '../pullers/docker.ts'
import type { ImageReference, Puller, PullerOptions } from '../pullers/puller.ts'
import { makeSkopeo } from '../pullers/skopeo.ts'
import type { Account } from '../registry/registry.ts'
import { NODE_PROXY_URL } from '../shoal.ts'
import { hostOf, type OddRegistry } from './manners.ts'

/** The real pulling clients of a lab for odd registries, on hosts with Shoal and without it. */

/** More than a busy machine needs to end a client that was killed. */
const GRACE_MS = 15_000

export interface FieldHost {
  host: LabHost
  /** Without Shoal. */
  isDirect: boolean
  /** The proxy that a client without Shoal must use. */
  proxyUrl: string | undefined
}

export interface FieldClientsOptions {
  run: LabRun
  hosts: FieldHost[]
  registries: OddRegistry[]
  /** Authority of the lab: a daemon's system store. */
  authorityFile: string
  patienceMs: number
}

export type Side = 'direct' | 'shoal'

export interface ClientPlan {
  kind: 'skopeo' | 'docker' | 'curl'
  /** Of curl's requests. */
  query?: string
  /** Host that dockerd has as mirror of Docker Hub. */
  mirror?: string
}

/** How a client ended. */
export interface Outcome {
  isOk: boolean
  seconds: number
  /** Its last words; '' when all is well. */
  problem: string
}

export class FieldClients {
  readonly #options: FieldClientsOptions
  readonly #daemons = new Map<string, Promise<Docker>>()
  #made = 0

  constructor(options: FieldClientsOptions) {
    this.#options = options
  }

  /** A client on the side's `index`-th host. */
  async client(side: Side, index: number, registry: OddRegistry, plan: ClientPlan): Promise<Puller> {
    if (plan.kind === 'docker') return this.docker(side, index, plan.mirror)
    const options = { ...this.#common(side, index), ...credentials(registry) }
    // Clients of one host may run at the same time.
    const folder = `${plan.kind}-${++this.#made}`
    return plan.kind === 'skopeo'
      ? makeSkopeo({ ...options, folder })
      : this.curl(side, index, registry, plan)
  }

  curl(side: Side, index: number, registry: OddRegistry, { query }: Partial<ClientPlan>): Puller & CurlFetch {
    return makeCurl({
      ...{ ...this.#common(side, index), ...credentials(registry), folder: `curl-${++this.#made}` },
      ...(registry.prefix === undefined ? {} : { prefix: registry.prefix }),
      ...(query === undefined ? {} : { query }),
    })
  }

  /** The host's daemon, started when it is first asked for; it knows all accounts. */
  docker(side: Side, index: number, mirror?: string): Promise<Docker> {
    const { host } = this.#hostOf(side, index)
    const folder = mirror === undefined ? 'docker' : 'docker-with-mirror'
    const key = `${host.name} ${folder}`
    const known = this.#daemons.get(key)
    if (known) return known
    const { registries, authorityFile } = this.#options
    const daemon = startDocker({
      ...{ ...this.#common(side, index), registryHost: '', account: undefined, folder },
      otherAccounts: accountsOf(registries),
      daemonConfig: {
        'insecure-registries': registries.filter(({ isPlain }) => isPlain).map(hostOf),
        ...(mirror === undefined ? {} : { 'registry-mirrors': [`https://${mirror}`] }),
      },
      // As the system's store would have it: Docker Hub has no folder in certs.d.
      env: { SSL_CERT_FILE: authorityFile },
    })
    this.#daemons.set(key, daemon)
    return daemon
  }

  /**
   * Pulls, and looks at every stored byte afterwards.
   * @throws LabClosedError
   */
  async pull(puller: Puller, image: ImageReference): Promise<Outcome> {
    const outcome = await this.attempt(() => puller.pull(image))
    if (!outcome.isOk) return outcome
    const isRight = await puller.verify(image).catch(() => false)
    return isRight
      ? outcome
      : { ...outcome, isOk: false, problem: 'the stored bytes are not those of the image' }
  }

  /**
   * Ends in bounded time.
   * @throws LabClosedError
   */
  async attempt(action: () => Promise<unknown>): Promise<Outcome> {
    const startedMs = performance.now()
    const patience = new AbortController()
    const lateMs = this.#options.patienceMs + GRACE_MS
    const late = delay(lateMs, undefined, { signal: patience.signal }).then(
      () => 'it took too long',
      () => '',
    )
    const done = action().then(
      () => '',
      (error: Error) => {
        if (error instanceof LabClosedError) throw error
        return lastLine(error.message)
      },
    )
    const problem = await Promise.race([done, late])
    patience.abort()
    return { isOk: problem === '', seconds: (performance.now() - startedMs) / 1000, problem }
  }

  #hostOf(side: Side, index: number): FieldHost {
    return this.#options.hosts.filter(({ isDirect }) => isDirect === (side === 'direct'))[index]!
  }

  #common(side: Side, index: number): Omit<PullerOptions, 'registryHost' | 'account'> {
    const { run, patienceMs } = this.#options
    const { host, isDirect, proxyUrl } = this.#hostOf(side, index)
    return {
      ...{ host, processes: run.processes, patienceMs, cgroupParent: labCgroup(run.id) },
      proxyUrl: isDirect ? proxyUrl : NODE_PROXY_URL,
    }
  }
}

function credentials(registry: OddRegistry): Pick<PullerOptions, 'registryHost' | 'account'> {
  return { registryHost: hostOf(registry), account: registry.authentication?.account }
}

function accountsOf(registries: OddRegistry[]): Record<string, Account> {
  const known = registries.flatMap((registry) => {
    const account = registry.authentication?.account
    return account === undefined ? [] : [[hostOf(registry), account] as const]
  })
  return Object.fromEntries(known)
}

/** Without what stands before every message of skopeo and docker. */
function lastLine(text: string): string {
  const line = text.trim().split('\n').at(-1) ?? ''
  return line
    .replace(/^.*level=\w+ msg=/, '')
    .replace(/^.*?(Error response from daemon: |failed with \d+: )/, '')
}
