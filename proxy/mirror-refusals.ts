import type { ServerResponse } from 'node:http'
import type { Conditions } from '../core/conditions.ts'
import type { RegistryHost, Repository } from '../core/repository.ts'

/**
 * Pulls that the registry refused at the mirror. A pull begins with a 401 that says where tokens come from; if nothing is
 * accepted soon after, the runtime has no credential for the mirror, and goes to the registry itself.
 */

/** From a 401 to the request with a token: a token server may be slow, and a person may have to be asked. */
export const REFUSAL_SETTLES_MS = 15_000
/** How long the condition stays after the last such pull. */
const REFUSAL_KEPT_MS = 3_600_000
/** Bound of pulls that wait for their token; more are not watched. */
const REFUSALS_WATCHED_MAX = 256
/** Bound of a runtime's name in a condition. */
const RUNTIME_CHARS_MAX = 40

interface Home {
  registry: RegistryHost
  repository: Repository
}

export class MirrorRefusals {
  readonly #conditions: Conditions
  readonly #waiting = new Map<string, ReturnType<typeof setTimeout>>()
  /** The last repository of each registry for which the condition was raised. */
  readonly #raised = new Map<RegistryHost, Repository>()

  constructor(conditions: Conditions) {
    this.#conditions = conditions
  }

  /** A request for something in a repository was answered. */
  note(home: Home, { statusCode, req }: ServerResponse): void {
    const key = `${home.registry}/${home.repository}`
    if (statusCode < 400) {
      clearTimeout(this.#waiting.get(key))
      this.#waiting.delete(key)
      if (this.#raised.get(home.registry) !== home.repository) return
      this.#raised.delete(home.registry)
      this.#conditions.clear('MIRROR_REFUSED', home.registry)
      return
    }
    const isRefused = statusCode === 401 || statusCode === 403
    if (!isRefused || this.#waiting.has(key) || this.#waiting.size >= REFUSALS_WATCHED_MAX) return
    const runtime = (req.headers['user-agent'] ?? '').split(' ')[0]!.slice(0, RUNTIME_CHARS_MAX)
    const timer = setTimeout(() => this.#raise(home, runtime), REFUSAL_SETTLES_MS)
    timer.unref()
    this.#waiting.set(key, timer)
  }

  close(): void {
    for (const timer of this.#waiting.values()) clearTimeout(timer)
    this.#waiting.clear()
  }

  #raise({ registry, repository }: Home, runtime: string): void {
    this.#waiting.delete(`${registry}/${repository}`)
    this.#raised.set(registry, repository)
    const untilMs = Date.now() + REFUSAL_KEPT_MS
    this.#conditions.raise('MIRROR_REFUSED', registry, { repository, runtime }, { untilMs })
  }
}
