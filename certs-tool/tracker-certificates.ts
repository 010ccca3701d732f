import { isIP } from 'node:net'
import { hostname } from 'node:os'
import { UsageError } from '../core/errors.ts'
import { issueLeaf, type KeyedCertificate, makeAuthority } from '../core/issue-certificate.ts'

const DAY_SECONDS = 24 * 3600
/** Ten years, so that a lab's authority outlives the lab. */
export const AUTHORITY_DAYS_DEFAULT = 3650
/** The maximum of public authorities until 2026 (CA/Browser Forum ballot SC-081); some clients enforce it. */
export const TRACKER_DAYS_DEFAULT = 397
/** A hundred years; later dates make no sense. */
const DAYS_MAX = 36_500
export const LAB_AUTHORITY_NAME = 'Shoal lab authority'
export const TRACKER_NAME = 'Shoal tracker'

/** Names under which every tracker is reachable from its own machine. */
const OWN_MACHINE = ['localhost', '127.0.0.1', '::1']
const HOST_NAME =
  /^(?=.{1,253}$)(\*\.)?[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*$/i

/** An authority for the tracker's own HTTPS, for sites without another one. It has no part in trust between peers. */
export function makeLabAuthority(options: { name?: string; days?: number } = {}): Promise<KeyedCertificate> {
  return makeAuthority({
    commonName: options.name ?? LAB_AUTHORITY_NAME,
    validForSeconds: (options.days ?? AUTHORITY_DAYS_DEFAULT) * DAY_SECONDS,
  })
}

/**
 * The tracker's HTTPS certificate.
 * @param names host names and addresses in addition to localhost, 127.0.0.1 and ::1
 */
export function issueTrackerTls(
  authority: KeyedCertificate,
  options: { names: string[]; days?: number },
): Promise<KeyedCertificate> {
  const names = [...new Set([...OWN_MACHINE, ...options.names.map(parseName)])]
  return issueLeaf(authority, {
    commonName: TRACKER_NAME,
    validForSeconds: (options.days ?? TRACKER_DAYS_DEFAULT) * DAY_SECONDS,
    names: names.map((value) => ({ type: isIP(value) === 0 ? 'dns' : 'ip', value })),
    usages: ['serverAuth'],
  })
}

/** For tlsCertFile: nodes that join find the authority behind the tracker's certificate. */
export function chainOf(
  tracker: KeyedCertificate,
  authority: Pick<KeyedCertificate, 'certificatePem'>,
): string {
  return `${tracker.certificatePem.trimEnd()}\n${authority.certificatePem.trimEnd()}\n`
}

/** This machine's name, if a certificate can have it. */
export function ownHostNames(): string[] {
  return HOST_NAME.test(hostname()) ? [hostname().toLowerCase()] : []
}

function parseName(name: string): string {
  if (isIP(name) !== 0) return name
  if (!HOST_NAME.test(name)) {
    throw new UsageError(`not a host name or address: ${name.slice(0, 80)}`, {
      hint: 'Write a name as tracker.example.com or an address as 10.0.0.5, without scheme and port.',
    })
  }
  return name.toLowerCase()
}

/** @throws UsageError unless `text` is a whole number of days from 1 to a hundred years */
export function parseDays(text: string): number {
  if (!/^\d{1,5}$/.test(text) || Number(text) < 1 || Number(text) > DAYS_MAX) {
    throw new UsageError(`not a number of days: ${text.slice(0, 80)}`, { hint: `Write 1 to ${DAYS_MAX}.` })
  }
  return Number(text)
}
