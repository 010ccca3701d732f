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
  CLOCK_SKEWED: {
    title: "this machine's clock is wrong",
    severity: 'error',
    text: 'A certificate is not valid at the time of this machine, whose clock differs from that of the server.',
    cost: 'This node cannot verify that server, and shares nothing with it.',
    remedy: 'Set the clock of this machine and keep it right (chronyd, systemd-timesyncd or ntpd).',
  },
  NO_REGISTRIES: {
    title: 'no registry is configured',
    severity: 'error',
    text: 'This node has no registry to share.',
    cost: 'Every pull comes from its registry, as without Shoal.',
    remedy: 'Name the registries with --registries.',
  },
  REGISTRY_CLIENT_CERTIFICATE: {
    title: 'a client certificate cannot be used',
    severity: 'warning',
    text: 'This machine has a client certificate for a registry that Shoal cannot read or use.',
    cost: 'Connections to this registry are tunnelled, so that clients present the certificate themselves; nothing from it is shared.',
    remedy:
      "Let the user who runs Shoal read the .cert and .key files in Docker's certs.d folder of the registry, or name copies with the registry's clientCertFile and clientKeyFile.",
  },
  REGISTRY_PLAIN_HTTP: {
    title: 'a registry speaks plain HTTP',
    severity: 'warning',
    text: 'A registry answers on its port with plain HTTP instead of TLS.',
    cost: 'Connections to it are tunnelled; nothing from it is shared.',
    remedy:
      'Give the registry TLS, or correct its port in --registries, or remove it there. Docker itself must have it among its insecure registries.',
  },
  REGISTRY_TLS: {
    title: 'no TLS with a registry',
    severity: 'warning',
    text: 'A registry answers, and TLS with it fails before any certificate is checked.',
    cost: 'Connections to it are tunnelled, so that clients try it themselves; nothing from it is shared.',
    remedy:
      "The registry must offer TLS 1.2 or 1.3. If it requires a client certificate, put it into Docker's certs.d folder of the registry, or name it with clientCertFile and clientKeyFile.",
  },
  REGISTRY_UNREACHABLE: {
    title: 'a registry cannot be reached',
    severity: 'warning',
    text: 'A registry does not answer this node.',
    cost: 'The cluster serves what it holds to those whom the registry accepted within the last hour; other requests fail, as they would without Shoal.',
    remedy:
      'Check the network between this machine and the registry. If a proxy is the only way, name it with --upstream-proxy.',
  },
  REGISTRY_UNVERIFIED: {
    title: "a registry's certificate does not verify",
    severity: 'warning',
    text: "A registry's certificate does not verify with what this node trusts.",
    cost: 'Connections to it are tunnelled, so that clients verify it themselves; nothing from it is shared.',
    remedy:
      "Name the registry's authority with its caFile, or put it as a .crt file into Docker's certs.d folder of the registry (--docker-certs-dir).",
  },
  UPSTREAM_PROXY_REFUSED: {
    title: 'the upstream proxy wants a password',
    severity: 'error',
    text: 'The upstream proxy refuses this node without a valid user and password (407).',
    cost: 'Hosts behind the proxy cannot be reached through Shoal.',
    remedy: 'Put the URL with user and password into a file and name it with --upstream-proxy-file.',
  },
  UPSTREAM_PROXY_UNREACHABLE: {
    title: 'the upstream proxy cannot be reached',
    severity: 'error',
    text: 'The upstream proxy does not answer this node.',
    cost: 'Hosts behind the proxy cannot be reached through Shoal.',
    remedy:
      'Check --upstream-proxy or HTTPS_PROXY, and whether the proxy runs. Hosts that need no proxy belong into --no-proxy.',
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
