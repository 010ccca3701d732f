import { durationText, utcSecondsText } from '../core/time-text.ts'
import type { CertificateFacts, CertificateKind } from './certificate-facts.ts'
import type { NameConstraints } from './name-constraints.ts'

const TITLES: Record<CertificateKind, string> = {
  node: "a node's certificate towards the tracker",
  pull: 'a pull certificate: the grant of one pull between nodes',
  serve: 'a serve certificate: its node may give blobs to others, and fetch nothing with it',
  link: 'a link certificate: either end of a connection between two nodes; it opens no blob',
  'cluster-authority': "a cluster's authority: it issues the certificates of the cluster's nodes",
  'lab-authority': "a lab's authority: it signs the tracker's HTTPS certificate",
  tracker: "the tracker's HTTPS certificate",
  'proxy-authority':
    "a node's proxy authority, which that machine's Docker trusts for the configured registries",
  proxy: "the certificate that a node's proxy shows to Docker in place of a registry",
  'admin-authority': "the authority of a tracker's admin API",
  'admin-listener': "the certificate of a tracker's admin API",
  admin: "an administrator's certificate for a tracker's admin API",
  other: 'a certificate that Shoal does not know',
}

const LABEL_CHARS = 14

/** A certificate in plain words, with its validity at `now`. */
export function certificateText(facts: CertificateFacts, now: Date): string {
  const lines: [string, string | undefined][] = [
    ['what', TITLES[facts.kind]],
    ['validity', validityText(facts, now)],
    ...claimLines(facts),
    ['names', facts.names.length === 0 ? undefined : facts.names.map(plainName).join(', ')],
    ...constraintLines(facts.nameConstraints),
    ['used as', facts.usages.length === 0 ? undefined : facts.usages.join(' and ')],
    ['subject', facts.kind === 'other' ? facts.subject : undefined],
    ['issued by', issuerText(facts)],
    ['fingerprint', `SHA-256 ${facts.fingerprint}`],
  ]
  return lines.flatMap(([label, text]) => (text === undefined ? [] : [line(label, text)])).join('\n')
}

function line(label: string, text: string): string {
  return `  ${label.padEnd(LABEL_CHARS)}${text}`
}

function claimLines({ claims }: CertificateFacts): [string, string | undefined][] {
  if (claims === null) return []
  const holder: [string, string][] = [
    ['cluster', claims.cluster],
    ['node', claims.node],
  ]
  if (claims.kind !== 'pull') return holder
  return [
    ...holder,
    ['pull', claims.pullId],
    ['registry', claims.registry],
    ['repository', claims.repository],
    ...claims.blobs.map((blob, index): [string, string] => [index === 0 ? 'blobs' : '', blob]),
    ['token hash', claims.tokenHash ?? 'none: the registry asks for no token'],
    ['granted', utcSecondsText(claims.grantedAtSeconds * 1000)],
  ]
}

function constraintLines(constraints: NameConstraints | null): [string, string][] {
  if (constraints === null) return []
  const { excluded } = constraints
  const permitted = constraints.permitted.filter((names) => !excluded.includes(names))
  return [
    ['only for', permitted.join(', ') || 'no restriction'],
    ['never for', excluded.join(', ') || 'no restriction'],
  ]
}

/** `IP Address:10.0.0.5` → `10.0.0.5`. */
function plainName(name: string): string {
  return name.replace(/^(DNS|IP Address):/, '')
}

function issuerText({ issuer, issuerFingerprint, fingerprint, issuerKeyId }: CertificateFacts): string {
  if (issuerFingerprint === fingerprint) return 'itself'
  if (issuerFingerprint !== null) return `${issuer}, SHA-256 ${issuerFingerprint}`
  return issuerKeyId === null ? issuer : `${issuer}, key ${issuerKeyId}`
}

function validityText({ validFrom, validTo }: CertificateFacts, now: Date): string {
  const from = new Date(validFrom)
  const to = new Date(validTo)
  const range = `${utcSecondsText(validFrom)} to ${utcSecondsText(validTo)}`
  if (now < from) return `not yet valid, in ${durationText(from.getTime() - now.getTime())} (${range})`
  if (now > to) return `expired ${durationText(now.getTime() - to.getTime())} ago (${range})`
  return `valid for another ${durationText(to.getTime() - now.getTime())} (${range})`
}
