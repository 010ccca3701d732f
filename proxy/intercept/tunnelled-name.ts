import { isIPv4 } from 'node:net'
import { type RegistryHost, registryAddress } from '../../core/repository.ts'

/**
 * Some clients trust this node for requests to a registry, but not for tokens: those they fetch with the system's store
 * alone. Where the token server has the registry's own host and port, only the spelling of its name can tell the two kinds of
 * connections apart: such a client is told a spelling that nobody writes, and connections to that are tunnelled. All other
 * spellings are the registry (core/repository.ts).
 */

/**
 * dockerd with containerd's image store names that client; BuildKit leaves tokens to the command line's process, which has a
 * proxy and a store of its own.
 */
const FETCHES_TOKENS_ELSEWHERE = /(?:^| )(?:containerd-client|buildkit)\//
const REALM = /(\brealm="https:\/\/)([^/?#"@]+)(?=[/?#"])/gi

/** Whether the sender of a request fetches tokens with another trust store than the one that knows this node. */
export function fetchesTokensElsewhere(userAgent = ''): boolean {
  return FETCHES_TOKENS_ELSEWHERE.test(userAgent)
}

/**
 * The spelling of a host that is tunnelled: the last letter is a capital one, and no other; an IPv4 address is written as
 * IPv6 (RFC 4291 §2.5.5.2), which verifies and connects alike. Undefined if there is none.
 */
function tunnelledName(registry: RegistryHost): string | undefined {
  const { host } = registryAddress(registry)
  if (isIPv4(host)) return `[::ffff:${host}]`
  const at = host.search(/[a-z][^a-z]*$/)
  if (at === -1) return undefined
  const spelled = `${host.slice(0, at)}${host[at]!.toUpperCase()}${host.slice(at + 1)}`
  return host.includes(':') ? `[${spelled}]` : spelled
}

/** Whether the authority of a CONNECT request, as the client wrote it, spells the registry so that it is tunnelled. */
export function isTunnelledName(authority: string, registry: RegistryHost): boolean {
  return authority.replace(/:\d+$/, '') === tunnelledName(registry)
}

/**
 * The same fields with that spelling in every realm at the registry's own host and port (RFC 6750 §3, distribution's token
 * authentication). Realms of other hosts stay as they are.
 * @param raw alternating names and values, as in `rawHeaders`
 */
export function withTunnelledRealm(raw: readonly string[], registry: RegistryHost): string[] {
  const name = tunnelledName(registry)
  const { host, port } = registryAddress(registry)
  const own = host.includes(':') ? `[${host}]` : host
  const respell = (whole: string, before: string, authority: string) => {
    const [, written, writtenPort = '443'] = /^(\[[^\]]*\]|[^:]*)(?::(\d+))?$/.exec(authority) ?? []
    const isOwn = written?.toLowerCase() === own && Number(writtenPort) === port
    return isOwn && name !== undefined ? `${before}${name}${authority.slice(written.length)}` : whole
  }
  return raw.map((value, index) => {
    const isChallenge = index % 2 === 1 && raw[index - 1]!.toLowerCase() === 'www-authenticate'
    return isChallenge ? value.replace(REALM, respell) : value
  })
}
