import { join } from 'node:path'
import type { Logger } from 'pino'
import type { ConditionCode, Conditions } from '../../core/conditions.ts'
import { readOwnFile, replaceFile } from '../../core/data-folder.ts'
import { type RegistriesNews, type RegistryNamed, registriesNews } from '../../core/registries-api.ts'
import type { RegistryClients } from '../../core/registry-client.ts'
import type { RegistryHost } from '../../core/repository.ts'
import type { RegistryFound } from '../client.ts'

/** A file in the data folder with what the tracker last said about registries. */
export const REGISTRIES_FILE = 'registries.json'

export interface RegistrySettingsOptions {
  registries: RegistryClients
  registriesFromTracker?: boolean
  dataDir: string
  log: Logger
  conditions: Conditions
}

/**
 * The registries as the tracker names them. Invariant: they say what could be shared. Which hosts this node intercepts,
 * whose authorities it trusts and where redirects may lead stays its own configuration, so that a captured tracker gets
 * nobody's tokens.
 */
export class RegistrySettings {
  readonly #registries: RegistryClients
  readonly #path: string
  readonly #log: Logger
  readonly #conditions: Conditions
  readonly #isConsented: boolean
  /** The node has added what the tracker named at its start, if it consents. */
  #isSettled = false
  #news: RegistriesNews | undefined
  #isVersionKnown = false

  constructor(options: RegistrySettingsOptions) {
    this.#isConsented = options.registriesFromTracker === true
    this.#registries = options.registries
    this.#path = join(options.dataDir, REGISTRIES_FILE)
    this.#log = options.log
    this.#conditions = options.conditions
  }

  /** The version that the tracker's next answer may leave out; undefined before it named one, as older ones never do. */
  get version(): string | undefined {
    return this.#isVersionKnown ? this.#news?.version : undefined
  }

  /** The tracker knows no versions. */
  forgetVersion(): void {
    this.#isVersionKnown = false
  }

  /** Takes the tracker's answer; undefined: it says nothing new. */
  update(news: RegistriesNews | undefined): void {
    if (news === undefined) return
    this.#isVersionKnown = true
    if (news.version === this.#news?.version) return
    this.#news = news
    try {
      replaceFile(this.#path, JSON.stringify(news))
    } catch (error) {
      this.#log.warn({ err: error, path: this.#path }, 'cannot write the list of registries')
    }
    if (this.#isSettled || !this.#isConsented) this.#compare()
  }

  /** What the tracker names, or named before this node's restart. */
  named(): RegistryNamed[] {
    return (this.#news ?? this.#read())?.list ?? []
  }

  found(): RegistryFound[] {
    const news = new Map((this.#news?.list ?? []).map((settings) => [settings.host, settings]))
    const own = [...this.#registries.keys()].map((host): RegistryFound => {
      const state = this.#news === undefined || news.has(host) ? 'shared' : 'unknown to the tracker'
      return { host, kinds: news.get(host)?.kinds ?? [], state }
    })
    const others = [...news.values()].filter(({ host }) => !this.#registries.has(host))
    return [
      ...own,
      ...others.map(({ host, kinds }): RegistryFound => ({ host, kinds, state: 'not consented' })),
    ]
  }

  /** The node's own list is as it stays. */
  settle(): void {
    this.#isSettled = true
    this.#compare()
  }

  /** Says what the tracker and this node do not agree on. */
  #compare(): void {
    if (this.#news === undefined) return
    for (const { host, state } of this.found()) {
      const set = (code: ConditionCode, isSo: boolean) =>
        isSo ? this.#conditions.raise(code, host) : this.#conditions.clear(code, host)
      set(this.#isConsented ? 'REGISTRIES_CHANGED' : 'REGISTRY_NOT_CONSENTED', state === 'not consented')
      set('REGISTRY_NOT_AT_TRACKER', state === 'unknown to the tracker')
      set('REGISTRY_PATH_DIFFERS', state === 'shared' && !this.#isSamePath(host))
    }
  }

  #isSamePath(host: RegistryHost): boolean {
    const theirs = this.#news?.list.find((named) => named.host === host)?.apiPath ?? ''
    return theirs === (this.#registries.get(host)?.apiPath ?? '')
  }

  #read(): RegistriesNews | undefined {
    try {
      const text = readOwnFile(this.#path)
      return text === undefined ? undefined : registriesNews.parse(JSON.parse(text))
    } catch (error) {
      this.#log.warn({ err: error, path: this.#path }, 'cannot read the list of registries')
      return undefined
    }
  }
}
