import type { RegistryFailure } from '../../../core/registry-failure.ts'
import { type Finding, type FindingCode, found, ok } from '../finding.ts'

export interface RegistryFacts {
  host: string
  /** Why it does not answer this machine over verified TLS. */
  failure?: { kind: RegistryFailure; reason: string } | undefined
  /** To GET /v2/ without a credential. */
  status?: number | undefined
  /** Its WWW-Authenticate. */
  challenge?: string | undefined
  /** How callers turned out to authenticate, as the tracker found. */
  kinds: string[]
  hasClientCertificate?: boolean | undefined
}

const CODE_OF: Record<RegistryFailure, FindingCode> = {
  certificate: 'REGISTRY_UNVERIFIED',
  plain: 'REGISTRY_PLAIN_HTTP',
  tls: 'REGISTRY_TLS',
  identity: 'REGISTRY_CLIENT_CERTIFICATE',
  silent: 'REGISTRY_UNREACHABLE',
}
/** In words, how the tracker verifies its callers (docs/registries.md). */
const SEEN: Readonly<Record<string, string>> = {
  token: 'its tokens are signed, and verified by their key',
  introspect: 'each credential is verified by asking it',
  none: 'its images are open to every node',
}
/** What a registry answers to a stranger. */
const EXPECTED = new Set([200, 401, 403])

export function judgeRegistries(registries: RegistryFacts[]): Finding[] {
  return registries.length === 0 ? [found('NO_REGISTRIES')] : registries.map(judgeRegistry)
}

function judgeRegistry({ host, failure, status = 0, challenge, kinds, ...more }: RegistryFacts): Finding {
  if (failure !== undefined) {
    const { kind, reason } = failure
    const isUpstream = kind === 'silent' && reason.startsWith('the upstream proxy')
    const remedy = isUpstream ? 'Fix the upstream proxy first: see `upstream`.' : undefined
    return found(CODE_OF[kind], { subject: host, detail: reason, remedy })
  }
  if (!EXPECTED.has(status))
    return found('REGISTRY_ANSWERS_ODDLY', { subject: host, detail: `it answered ${status}` })
  const identity = more.hasClientCertificate ? '; this machine shows it a client certificate' : ''
  const seen = kinds
    .map((kind) => SEEN[kind])
    .filter((words) => words !== undefined)
    .map((words) => `; ${words}`)
    .join('')
  return ok(`${host} answers and is verified; ${kindText(status, challenge)}${seen}${identity}`)
}

function kindText(status: number, challenge = ''): string {
  if (status === 200) return 'strangers may ask it'
  const [, scheme = ''] = /^\s*(\w+)/.exec(challenge) ?? []
  const realm = /\brealm="([^"]*)"/i.exec(challenge)?.[1]
  if (/^bearer$/i.test(scheme)) return `it wants tokens${realm === undefined ? '' : ` of ${realm}`}`
  if (/^basic$/i.test(scheme)) return 'it wants a user and a password'
  return 'it wants a credential'
}
