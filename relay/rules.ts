import { existsSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { attachedProxyFile, CONSENT_FILE } from '../core/attached-files.ts'
import { parseProxyUrl, UpstreamProxy } from '../core/upstream-proxy.ts'
import { parsePermittedTargets, TargetPolicy } from '../proxy/upstream/target.ts'

/**
 * What the relay may connect to, from files that root wrote: the node runs as a user of its own and must not be able to
 * widen it. A file that is missing or broken is ignored: the relay must start all the same. Then the strictest rules hold,
 * and the upstream proxy is the environment's, or the one that `shoal attach` took over from the runtimes.
 */

/** Bound of the rules file and of each file of `shoal attach`, in bytes. */
const RULES_BYTES_MAX = 64 * 1024
/** Bound of the ports that the rules file may deny. */
const DENIED_PORTS_MAX = 64

export interface RelaySources {
  /** The rules file, if one was named. */
  path: string | undefined
  /** Where `shoal attach` leaves its files; '' for nowhere. */
  attachedDir: string
  env: NodeJS.ProcessEnv
}

export interface RelayRules {
  policy: TargetPolicy
  /** Which files are ignored, and why. */
  ignored: string[]
}

export function relayRules({ path, attachedDir, env }: RelaySources): RelayRules {
  const ignored: string[] = []
  const attempt = <T>(read: () => T, instead: T): T => {
    try {
      return read()
    } catch (error) {
      ignored.push((error as Error).message)
      return instead
    }
  }
  const attached = attempt(() => readAttached(attachedDir, env), undefined)
  const rules = attempt(() => (path === undefined ? {} : readRules(path)), {})
  const policy = attempt(() => policyOf(rules, env, attached), undefined)
  return { policy: policy ?? policyOf({}, env, attached), ignored }
}

function readRules(path: string): Record<string, unknown> {
  const rules: unknown = JSON.parse(readTrusted(path))
  if (typeof rules !== 'object' || rules === null || Array.isArray(rules)) {
    throw new Error(`${path} does not hold a JSON object`)
  }
  return rules as Record<string, unknown>
}

function readTrusted(path: string): string {
  const { uid, mode, size } = statSync(path)
  const isOurs = uid === 0 || uid === process.getuid?.()
  if (!isOurs || (mode & 0o022) !== 0) throw new Error(`${path} can be written by others than root`)
  if (size > RULES_BYTES_MAX) throw new Error(`${path} is larger than ${RULES_BYTES_MAX} bytes`)
  return readFileSync(path, 'utf8')
}

interface AttachedProxy {
  /** May have a password. */
  url: string
  noProxy: string
}

/**
 * @returns undefined where no runtime with a proxy of its own is attached
 * @throws Error without the URL, which may be a secret
 */
function readAttached(attachedDir: string, env: NodeJS.ProcessEnv): AttachedProxy | undefined {
  const consentFile = join(attachedDir, CONSENT_FILE)
  if (attachedDir === '' || !existsSync(consentFile)) return undefined
  const { noProxy } = readRules(consentFile)
  // As for the node: only an attachment that had a proxy has it.
  if (typeof noProxy !== 'string') return undefined
  const file = attachedProxyFile(attachedDir, env)
  const url = readTrusted(file).trim()
  if (parseProxyUrl(url) === undefined) throw new Error(`${file} does not hold the URL of a proxy`)
  return { url, noProxy }
}

/** The names are those of the node's settings. */
function policyOf(
  rules: Record<string, unknown>,
  env: NodeJS.ProcessEnv,
  attached: AttachedProxy | undefined,
): TargetPolicy {
  const policy = new TargetPolicy({
    permitLinkLocal: rules.permitLinkLocal === true,
    permittedTargets: parsePermittedTargets(textOf(rules.permittedTargets) ?? 'none'),
    upstreamProxy: upstreamProxyOf(rules, env, attached),
  })
  const ports = Array.isArray(rules.deniedPorts) ? rules.deniedPorts : []
  for (const port of ports.slice(0, DENIED_PORTS_MAX)) policy.denyOwnPort(Number(port))
  return policy
}

function upstreamProxyOf(
  rules: Record<string, unknown>,
  env: NodeJS.ProcessEnv,
  attached: AttachedProxy | undefined,
): UpstreamProxy | undefined {
  const variable = (name: string) => env[name] || env[name.toLowerCase()] || undefined
  const named = textOf(rules.upstreamProxy)
  if (named === 'none') return undefined
  const found = { https: named ?? variable('HTTPS_PROXY'), http: named ?? variable('HTTP_PROXY') }
  const isNamed = found.https !== undefined || found.http !== undefined
  if (!isNamed && attached === undefined) return undefined
  const { https, http } = isNamed ? found : { https: attached!.url, http: attached!.url }
  const noProxy = textOf(rules.noProxy) ?? (isNamed ? variable('NO_PROXY') : attached!.noProxy) ?? ''
  const caFile = textOf(rules.upstreamProxyCaFile)
  const caPem = caFile === undefined ? undefined : readFileSync(caFile, 'utf8')
  return new UpstreamProxy({ https, http, noProxy }, undefined, caPem)
}

function textOf(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined
}
