import { BlockList, isIP } from 'node:net'
import { isLoopbackHost } from './network.ts'

/** One entry of NO_PROXY: a range or address, or a domain. */
type Rule = { port: string } & ({ addresses: BlockList } | { domain: string; isHostToo: boolean })

const CIDR = /^([^/]+)\/(\d{1,3})$/
const WITH_PORT = /^(?:\[([^\]]*)\]|([^:]*)):(\d*)$/

/**
 * Which hosts are reached without the upstream proxy, by Go's rules (golang.org/x/net/http/httpproxy), because Docker and
 * containerd read the same variable: `*`, addresses, CIDR ranges, `example.com` (and below), `.example.com` and
 * `*.example.com` (only below), each with or without a port. A name is compared as written and never resolved. This
 * machine's loopback never goes through a proxy.
 */
export class NoProxy {
  readonly #rules: readonly Rule[]
  readonly #isAll: boolean

  constructor(text: string) {
    const entries = text.split(',').map((entry) => entry.trim().toLowerCase())
    this.#isAll = entries.includes('*')
    this.#rules = entries.flatMap((entry) => ruleOf(entry) ?? [])
  }

  /** @param host without brackets */
  has(host: string, port: number): boolean {
    const name = host.toLowerCase().replace(/\.$/, '')
    if (this.#isAll || isLoopbackHost(name) || name.endsWith('.localhost')) return true
    return this.#rules.some((rule) => (rule.port === '' || rule.port === String(port)) && matches(rule, name))
  }
}

function ruleOf(entry: string): Rule | undefined {
  const [, net = '', bits] = CIDR.exec(entry) ?? []
  if (bits !== undefined && isIP(net) !== 0) {
    if (Number(bits) > (isIP(net) === 4 ? 32 : 128)) return undefined
    const addresses = new BlockList()
    addresses.addSubnet(net, Number(bits), familyOf(net))
    return { port: '', addresses }
  }
  const split = WITH_PORT.exec(entry)
  const host = (split?.[1] ?? split?.[2] ?? entry).replace(/^\*(?=\.)/, '')
  const port = split?.[3] ?? ''
  if (host === '' || host === '.') return undefined
  if (isIP(host) === 0) {
    const isHostToo = !host.startsWith('.')
    return { port, domain: isHostToo ? `.${host}` : host, isHostToo }
  }
  const addresses = new BlockList()
  addresses.addAddress(host, familyOf(host))
  return { port, addresses }
}

function matches(rule: Rule, name: string): boolean {
  if ('addresses' in rule) return isIP(name) !== 0 && rule.addresses.check(name, familyOf(name))
  return name.endsWith(rule.domain) || (rule.isHostToo && name === rule.domain.slice(1))
}

const familyOf = (address: string) => (isIP(address) === 4 ? 'ipv4' : 'ipv6')
