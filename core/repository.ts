import { InvalidInputError } from './errors.ts'

declare const checked: unique symbol

/** A repository name (OCI distribution-spec, "Pulling manifests": `<name>`), checked. */
export type Repository = string & { readonly [checked]: 'Repository' }

/**
 * A registry's authority as in an image name: lower-case `host` or `host:port`, checked. Port 443 and a dot at the end are
 * dropped.
 */
export type RegistryHost = string & { readonly [checked]: 'RegistryHost' }

/** Docker Hub has three names, and is one registry. This one serves its API. */
export const DOCKER_HUB = 'registry-1.docker.io' as RegistryHost
const DOCKER_HUB_NAMES: ReadonlySet<string> = new Set([DOCKER_HUB, 'docker.io', 'index.docker.io'])

const REPOSITORY = /^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:\/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*$/
/** Distribution's own bound of a name with its host. */
const REPOSITORY_CHARS_MAX = 255
/** No part is `.` or `..`, which clients and servers resolve. */
const API_PATH = /^(?:\/(?!\.{1,2}(?:\/|$))[A-Za-z0-9._~-]+)+$/
/** The longest path before `/v2/`. */
export const API_PATH_CHARS_MAX = 255
const HOST = /^(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)*$/
const IPV6 = /^\[[0-9a-f:.]{2,45}\]$/
/** The longest name that DNS can carry (RFC 1035 §2.3.4). */
const HOST_CHARS_MAX = 253

export function isRepository(text: string): text is Repository {
  return text.length <= REPOSITORY_CHARS_MAX && REPOSITORY.test(text)
}

/** A registry, and where on its host the API begins; empty or undefined: at `/v2/`. */
export interface RegistryApi {
  host: RegistryHost
  apiPath?: string | undefined
}

/** Whether the text can stand before `/v2/`: an absolute path of plain characters, without a slash at its end. */
export function isApiPath(text: string): boolean {
  return text.length <= API_PATH_CHARS_MAX && API_PATH.test(text) && !text.endsWith('/v2')
}

/** What the registry said counts for this host and this path of its API, and for no other. */
export function scopeOf({ host, apiPath = '' }: RegistryApi): string {
  return `${host}${apiPath}`
}

/** The path of a repository's API, for example `/v2/team/app`. */
export function repositoryPath(repository: Repository, apiPath = ''): string {
  return `${apiPath}/v2/${repository}`
}

/**
 * Reads `/v2/<name>/<rest>`, below the API's path if it has one; the opposite of `repositoryPath`. An API below any other path
 * is none: on a host that has users' files beside its registry, such a path may be one of them, and its name says nothing
 * about the registry's repositories.
 * @param rest what follows the name, as a regular expression with groups
 */
export function parseRepositoryPath(
  path: string,
  rest: string,
  apiPath = '',
): { repository: Repository; groups: string[] } | undefined {
  if (!path.startsWith(apiPath)) return undefined
  const found = new RegExp(`^/v2/(.+)/${rest}$`).exec(path.slice(apiPath.length))
  if (found === null) return undefined
  const [, name, ...groups] = found
  return isRepository(name!) ? { repository: name, groups } : undefined
}

/** @throws InvalidInputError */
export function parseRepository(text: string): Repository {
  if (!isRepository(text)) throw new InvalidInputError(`not a repository name: ${text.slice(0, 80)}`)
  return text
}

/** All names of Docker Hub become the one that serves its API. @throws InvalidInputError */
export function parseRegistryHost(text: string): RegistryHost {
  // A dot at the end makes a name absolute (RFC 1034 §3.1); it is the same host.
  const lower = text.toLowerCase().replace(/^([^:[\]]*[a-z0-9])\.(?=:|$)/, '$1')
  const parts = /^(\[[^\]]*\]|[^:]*)(?::(\d{1,5}))?$/.exec(lower)
  const host = parts?.[1] ?? ''
  const port = parts?.[2]
  const isHost = host.length <= HOST_CHARS_MAX && (HOST.test(host) || IPV6.test(host))
  if (!isHost || (port !== undefined && (Number(port) < 1 || Number(port) > 65535))) {
    throw new InvalidInputError(`not a registry host: ${text.slice(0, 80)}`)
  }
  if (port !== undefined && Number(port) !== 443) return `${host}:${Number(port)}` as RegistryHost
  return DOCKER_HUB_NAMES.has(host) ? DOCKER_HUB : (host as RegistryHost)
}

/** Host and port to connect to, with IPv6 addresses without their brackets. */
export function registryAddress(registry: RegistryHost): { host: string; port: number } {
  const [, ipv6, name, port] = /^(?:\[(.*)\]|([^:]*))(?::(\d+))?$/.exec(registry)!
  return { host: ipv6 ?? name!, port: Number(port ?? 443) }
}
