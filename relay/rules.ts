import { readFileSync, statSync } from 'node:fs'
import { UpstreamProxy } from '../core/upstream-proxy.ts'
import { parsePermittedTargets, TargetPolicy } from '../proxy/upstream/target.ts'

/**
 * What the relay may connect to, from a file that root wrote: the node runs as a user of its own and must not be able to
 * widen it. A file that is missing or broken is ignored: the relay must start all the same. Then the strictest rules hold,
 * and the upstream proxy is the environment's.
 */

/** Bound of the rules file, in bytes. */
const RULES_BYTES_MAX = 64 * 1024
/** Bound of the ports that the rules file may deny. */
const DENIED_PORTS_MAX = 64

export interface RelayRules {
  policy: TargetPolicy
  /** Why the file is ignored; undefined if it is not, or none was named. */
  ignored: string | undefined
}

export function relayRules(path: string | undefined, env: NodeJS.ProcessEnv): RelayRules {
  try {
    return { policy: policyOf(path === undefined ? {} : readRules(path), env), ignored: undefined }
  } catch (error) {
    return { policy: policyOf({}, env), ignored: (error as Error).message }
  }
}

function readRules(path: string): Record<string, unknown> {
  const { uid, mode, size } = statSync(path)
  const isOurs = uid === 0 || uid === process.getuid?.()
  if (!isOurs || (mode & 0o022) !== 0) throw new Error(`${path} can be written by others than root`)
  if (size > RULES_BYTES_MAX) throw new Error(`${path} is larger than ${RULES_BYTES_MAX} bytes`)
  const rules: unknown = JSON.parse(readFileSync(path, 'utf8'))
  if (typeof rules !== 'object' || rules === null || Array.isArray(rules)) {
    throw new Error(`${path} does not hold a JSON object`)
  }
  return rules as Record<string, unknown>
}

/** The names are those of the node's settings. */
function policyOf(rules: Record<string, unknown>, env: NodeJS.ProcessEnv): TargetPolicy {
  const policy = new TargetPolicy({
    permitLinkLocal: rules.permitLinkLocal === true,
    permittedTargets: parsePermittedTargets(textOf(rules.permittedTargets) ?? 'none'),
    upstreamProxy: upstreamProxyOf(rules, env),
  })
  const ports = Array.isArray(rules.deniedPorts) ? rules.deniedPorts : []
  for (const port of ports.slice(0, DENIED_PORTS_MAX)) policy.denyOwnPort(Number(port))
  return policy
}

function upstreamProxyOf(rules: Record<string, unknown>, env: NodeJS.ProcessEnv): UpstreamProxy | undefined {
  const variable = (name: string) => env[name] || env[name.toLowerCase()] || undefined
  const named = textOf(rules.upstreamProxy)
  if (named === 'none') return undefined
  const https = named ?? variable('HTTPS_PROXY')
  const http = named ?? variable('HTTP_PROXY')
  if (https === undefined && http === undefined) return undefined
  const noProxy = textOf(rules.noProxy) ?? variable('NO_PROXY') ?? ''
  const caFile = textOf(rules.upstreamProxyCaFile)
  const caPem = caFile === undefined ? undefined : readFileSync(caFile, 'utf8')
  return new UpstreamProxy({ https, http, noProxy }, undefined, caPem)
}

function textOf(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined
}
