import type { Logger } from 'pino'
import { BoundedMap } from './bounded-map.ts'

/**
 * What keeps a node from sharing, or will soon. Every condition is one row here: log, health, status, metrics and
 * docs/errors.md take their words from it. A condition begins with `raise`, ends with `clear`, and is logged once each.
 */

export interface ConditionText {
  /** A few words, for a table. */
  title: string
  /** `info`: as configured, but worth knowing. `warning`: something is not shared. `error`: nothing is shared. */
  severity: 'info' | 'warning' | 'error'
  /** What is so. One sentence. */
  text: string
  /** What it costs those who pull. */
  cost: string
  /** What to do; names the setting or the command. */
  remedy: string
}

export const CONDITIONS = {
  DOCKER_HUB_NEEDS_MIRROR: {
    title: 'dockerd does not share Docker Hub',
    severity: 'warning',
    text: 'Docker Hub is intercepted, but dockerd trusts no added authority for it, so its connections there are tunnelled.',
    cost: 'What dockerd pulls from Docker Hub is not shared. Podman, Skopeo and Buildah share it.',
    remedy:
      'Pull with Podman or Skopeo, or through a registry of your own that mirrors Docker Hub, and name that one with --registries.',
  },
  NO_REGISTRIES: {
    title: 'no registry is configured',
    severity: 'error',
    text: 'This node has no registry to share.',
    cost: 'Every pull comes from its registry, as without Shoal.',
    remedy: 'Name the registries with --registries.',
  },
  REGISTRIES_CHANGED: {
    title: 'the tracker names other registries than at the start',
    severity: 'warning',
    text: 'The tracker names a registry that this node does not intercept yet.',
    cost: 'Its blobs come from the registry, as without Shoal.',
    remedy: 'Start the node again.',
  },
  REGISTRIES_FROM_TRACKER: {
    title: 'the tracker decides what is intercepted',
    severity: 'info',
    text: 'As registriesFromTracker says, this node intercepts a registry that only the tracker names.',
    cost: 'Whoever controls the tracker sees no credential, but chooses which hosts this node reads.',
    remedy: 'To choose them here, name the registries with --registries and remove registriesFromTracker.',
  },
  REGISTRY_NOT_AT_TRACKER: {
    title: 'the tracker does not know a registry',
    severity: 'warning',
    text: 'This node names a registry for which the tracker grants no pulls.',
    cost: 'Its blobs come from the registry, as without Shoal.',
    remedy: 'Name it in the registries setting of the tracker too, or spell it as there.',
  },
  REGISTRY_NOT_CONSENTED: {
    title: 'a registry of the cluster is not shared here',
    severity: 'info',
    text: 'The tracker names a registry that this node was not told to intercept.',
    cost: 'Its blobs come from the registry, as without Shoal.',
    remedy:
      'Name it with --registries, or set registriesFromTracker to intercept all that the tracker names; then start the node again.',
  },
  REGISTRY_NOT_OPEN: {
    title: 'a registry of kind none asks for credentials',
    severity: 'warning',
    text: 'A registry is configured as `none`, but asked a stranger for a credential.',
    cost: 'Nothing is lost: each of its pulls is judged, as without a kind, also after a restart.',
    remedy:
      'Remove its kind. If it is open after all, stop the program and remove credentials-seen.json from its data folder.',
  },
} as const satisfies Record<string, ConditionText>

export type ConditionCode = keyof typeof CONDITIONS

export interface Condition {
  code: ConditionCode
  /** What it is about, for example a registry's host or a peer's address; '' for the node as a whole. */
  subject: string
  /** Short values that complete the text. Never a credential. */
  facts: Record<string, string | number | boolean>
  /** When it began, on the clock of `Date.now()`. */
  sinceMs: number
  /** How often it was raised since. */
  count: number
}

/** Bound of conditions at one time; the oldest go first. */
export const CONDITIONS_MAX = 256

export class Conditions {
  readonly #log: Logger
  readonly #nowMs: () => number
  readonly #current = new BoundedMap<string, Condition>(CONDITIONS_MAX)

  constructor({ log, nowMs = Date.now }: { log: Logger; nowMs?: () => number }) {
    this.#log = log
    this.#nowMs = nowMs
  }

  /** It is so, or still so. */
  raise(code: ConditionCode, subject = '', facts: Condition['facts'] = {}): void {
    const key = `${code} ${subject}`
    const known = this.#current.get(key)
    this.#current.set(key, {
      code,
      subject,
      facts,
      sinceMs: known?.sinceMs ?? this.#nowMs(),
      count: (known?.count ?? 0) + 1,
    })
    if (known !== undefined) return
    const { text, cost, remedy, severity } = CONDITIONS[code]
    const level = severity === 'error' ? 'error' : severity === 'warning' ? 'warn' : 'info'
    this.#log[level]({ code, ...(subject && { subject }), ...facts, cost, remedy }, text)
  }

  /** It is no longer so. */
  clear(code: ConditionCode, subject = ''): void {
    const key = `${code} ${subject}`
    if (this.#current.get(key) === undefined) return
    this.#current.delete(key)
    this.#log.info({ code, ...(subject && { subject }) }, `no longer: ${CONDITIONS[code].title}`)
  }

  /** All that are so now, the oldest first. */
  list(): Condition[] {
    return [...this.#current.values()].sort((one, other) => one.sinceMs - other.sinceMs)
  }
}
