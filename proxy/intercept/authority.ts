import { isIP } from 'node:net'
import { createSecureContext, type SecureContext } from 'node:tls'
import { z } from 'zod'
import { issueLeaf, type KeyedCertificate, makeAuthority } from '../../core/issue-certificate.ts'
import { type RegistryHost, registryAddress } from '../../core/repository.ts'

/**
 * The authority behind interception: one certificate and key for each registry's host. All keys exist only in this object
 * (and in the memory of the guard, if there is one, so that pulls under way outlive a node that is killed), and each authority can issue only for its own host (critical name constraints). So neither a stolen disk nor the file
 * that Docker trusts is of use elsewhere. Each host has its own, because constraints that exclude a host's subdomains
 * would exclude a second registry that is one of them.
 */

const DAY_SECONDS = 24 * 3600
/**
 * The authority is new at every start without a guard. So its life bounds only how long a file left by a crash stays valid, and how long
 * a process may run without a change. No standard limits authorities. Public leaves get at most 47 days from 2029 on
 * (CA/Browser Forum ballot SC-081), and this stays well below.
 */
const AUTHORITY_VALID_SECONDS = 30 * DAY_SECONDS
/** A process that runs long publishes its next authority this long before the end of the current one … */
const NEXT_PUBLISHED_BEFORE_END_SECONDS = 10 * DAY_SECONDS
/** … and signs with it from here on: a pull reads Docker's trust files once, and takes less than the time between. */
const NEXT_SIGNS_BEFORE_END_SECONDS = 5 * DAY_SECONDS
/** Short, because no client stores a leaf, and a new one costs a few milliseconds. Well below Apple's limit of 398 days. */
const LEAF_VALID_SECONDS = DAY_SECONDS
/** TLS 1.2 suites with forward secrecy and authenticated encryption (RFC 9325 §4.2); the key is ECDSA. */
const TLS12_CIPHERS =
  'ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305'

interface DatedAuthority {
  /** By the registry's name or address, without its port. */
  of: Map<string, KeyedCertificate>
  endsAtSeconds: number
}

interface DatedContext {
  context: SecureContext
  authority: DatedAuthority
  endsAtSeconds: number
}

export interface AuthorityKeeping {
  kept?: string
  keep?: (text: string) => void
  nowSeconds?: () => number
}

export class ProxyAuthority {
  readonly #hosts = new Set<RegistryHost>()
  readonly #nowSeconds: () => number
  readonly #keep: (text: string) => void
  readonly #contexts = new Map<RegistryHost, Promise<DatedContext>>()
  #current: DatedAuthority
  #next: DatedAuthority | undefined

  private constructor(nowSeconds: () => number, keep: (text: string) => void, first: DatedAuthority) {
    this.#nowSeconds = nowSeconds
    this.#keep = keep
    this.#current = first
  }

  /**
   * @param options.kept what an authority before gave to `keep`: what still serves of it is taken over, because pulls under
   * way trust nothing else
   * @param options.keep called with all of the authority in use, keys included, in one line, now and when it changes
   * @param options.nowSeconds since 1970; tests pass their own
   */
  static async make(
    hosts: RegistryHost[],
    { kept = '', keep = () => undefined, nowSeconds = () => Date.now() / 1000 }: AuthorityKeeping = {},
  ): Promise<ProxyAuthority> {
    const names = new Set(hosts.map((host) => registryAddress(host).host))
    const known = keptAuthority(kept, names, nowSeconds())
    const made = new ProxyAuthority(nowSeconds, keep, known ?? (await newAuthority([], nowSeconds())))
    await made.cover(hosts)
    return made
  }

  #changed(): void {
    const { of, endsAtSeconds } = this.#current
    this.#keep(JSON.stringify({ endsAtSeconds, of: [...of] }))
  }

  /** The certificates that clients must trust: one for each host, or two around a change. */
  get certificatesPem(): string {
    const trusted = [this.#current, this.#next].flatMap((authority) => [...(authority?.of.values() ?? [])])
    return trusted.map(({ certificatePem }) => certificatePem.trim()).join('\n')
  }

  /**
   * Takes the next step if it is due: publishes the next authority, and later signs with it.
   * @returns whether `certificatesPem` changed
   */
  async renewWhenDue(): Promise<boolean> {
    const leftSeconds = this.#current.endsAtSeconds - this.#nowSeconds()
    if (this.#next !== undefined && leftSeconds < NEXT_SIGNS_BEFORE_END_SECONDS) {
      this.#current = this.#next
      this.#next = undefined
      this.#changed()
      return true
    }
    if (this.#next !== undefined || leftSeconds >= NEXT_PUBLISHED_BEFORE_END_SECONDS) return false
    this.#next = await newAuthority([...this.#hosts], this.#nowSeconds())
    return true
  }

  /** Makes certificates for more hosts; those of the others stay. @returns whether `certificatesPem` changed */
  async cover(hosts: Iterable<RegistryHost>): Promise<boolean> {
    const added = [...hosts].filter((host) => !this.#hosts.has(host))
    for (const host of added) this.#hosts.add(host)
    const dated = [this.#current, this.#next].filter((authority) => authority !== undefined)
    for (const { of } of dated) {
      const missing = added.filter((host) => !of.has(registryAddress(host).host))
      const made = await newAuthority(missing, this.#nowSeconds())
      for (const [name, certificate] of made.of) if (!of.has(name)) of.set(name, certificate)
    }
    if (added.length > 0) this.#changed()
    return added.length > 0
  }

  /** The key and certificate to present to a client that connects to `host`, which must be configured. */
  async contextFor(host: RegistryHost): Promise<SecureContext> {
    const pending = this.#contexts.get(host)
    if (pending !== undefined) {
      const known = await pending
      if (this.#isFresh(known)) return known.context
    }
    // Simultaneous requests share one leaf.
    if (this.#contexts.get(host) === pending) this.#replace(host)
    return (await this.#contexts.get(host)!).context
  }

  #replace(host: RegistryHost): void {
    const made = this.#makeContext(host)
    this.#contexts.set(host, made)
    made.catch(() => this.#contexts.delete(host))
  }

  #isFresh({ authority, endsAtSeconds }: DatedContext): boolean {
    return authority === this.#current && endsAtSeconds - this.#nowSeconds() > LEAF_VALID_SECONDS / 2
  }

  async #makeContext(host: RegistryHost): Promise<DatedContext> {
    const authority = this.#current
    const name = registryAddress(host).host
    const leaf = await issueLeaf(authority.of.get(name)!, {
      commonName: 'Shoal proxy',
      validForSeconds: LEAF_VALID_SECONDS,
      names: [{ type: isIP(name) === 0 ? 'dns' : 'ip', value: name }],
      usages: ['serverAuth'],
    })
    const context = createSecureContext({
      cert: leaf.certificatePem,
      key: leaf.privateKeyPem,
      minVersion: 'TLSv1.2',
      ciphers: `TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256:${TLS12_CIPHERS}`,
    })
    return { context, authority, endsAtSeconds: this.#nowSeconds() + LEAF_VALID_SECONDS }
  }
}

/** @returns undefined if the text does not tell, or of an authority that is due for a change */
function keptAuthority(text: string, names: Set<string>, nowSeconds: number): DatedAuthority | undefined {
  const kept = keptSchema.safeParse(parsed(text)).data
  if (kept === undefined || kept.endsAtSeconds - nowSeconds < NEXT_PUBLISHED_BEFORE_END_SECONDS)
    return undefined
  return { of: new Map(kept.of.filter(([name]) => names.has(name))), endsAtSeconds: kept.endsAtSeconds }
}

const keptSchema = z.object({
  endsAtSeconds: z.number(),
  of: z.array(z.tuple([z.string(), z.object({ certificatePem: z.string(), privateKeyPem: z.string() })])),
})

function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

async function newAuthority(hosts: RegistryHost[], nowSeconds: number): Promise<DatedAuthority> {
  const of = new Map<string, KeyedCertificate>()
  for (const name of new Set(hosts.map((host) => registryAddress(host).host))) {
    const isName = isIP(name) === 0
    const made = await makeAuthority({
      commonName: 'Shoal proxy (this machine, until it restarts)',
      validForSeconds: AUTHORITY_VALID_SECONDS,
      permitted: { dnsNames: isName ? [name] : [], ipAddresses: isName ? [] : [name] },
    })
    of.set(name, made)
  }
  return { of, endsAtSeconds: nowSeconds + AUTHORITY_VALID_SECONDS }
}
