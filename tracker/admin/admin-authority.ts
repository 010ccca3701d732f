import { X509Certificate } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { replaceFile } from '../../core/data-folder.ts'
import { issueLeaf, type KeyedCertificate, makeAuthority } from '../../core/issue-certificate.ts'
import type { TlsMaterial } from '../api/https-listener.ts'
import { placeOf, type Sealer } from '../authority/sealer.ts'
import type { Store } from '../store/store.ts'

/**
 * The admin API's own authority: apart from the clusters', so that no node certificate ever opens it. It issues the
 * listener's certificate (new at every start) and the administrator's, which rests in `admin.pem`.
 */

/** Ten years: it is changed by making a new one, not by running out. */
const AUTHORITY_VALID_SECONDS = 10 * 365 * 24 * 3600
/** A year; the tracker writes a new admin.pem when less than a month is left of it. */
const ADMIN_VALID_SECONDS = 365 * 24 * 3600
/** An admin certificate that ends sooner is replaced at the start. */
const ADMIN_LEFT_SECONDS_MIN = 30 * 24 * 3600
/** A year; made anew at every start. */
const LISTENER_VALID_SECONDS = 365 * 24 * 3600
/** For the audit log. */
const BY_TRACKER = { actor: 'tracker', cluster: null, target: 'admin.pem' }
const PLACE = placeOf('adminAuthority', '')

/** Unsealed, or made at the first start. */
export async function openAdminAuthority(
  store: Store,
  sealer: Sealer,
  nowMs: number,
): Promise<KeyedCertificate> {
  const known = await store.adminAuthority()
  if (known !== undefined) {
    const privateKeyPem = sealer.open(PLACE, known.sealedKey).toString()
    return { certificatePem: known.certificatePem, privateKeyPem }
  }
  const commonName = 'shoal tracker admin'
  const made = await makeAuthority({ commonName, validForSeconds: AUTHORITY_VALID_SECONDS })
  const sealedKey = sealer.seal(PLACE, Buffer.from(made.privateKeyPem))
  await store.putAdminAuthority({ certificatePem: made.certificatePem, sealedKey, createdAtMs: nowMs })
  await store.addAudit({ ...BY_TRACKER, atMs: nowMs, action: 'admin authority created' })
  return made
}

/** What the admin listener presents, and whom it lets in: holders of a certificate of this authority. */
export async function adminTls(authority: KeyedCertificate): Promise<TlsMaterial> {
  const listener = await issueLeaf(authority, {
    commonName: 'shoal tracker admin listener',
    validForSeconds: LISTENER_VALID_SECONDS,
    names: [
      { type: 'dns', value: 'localhost' },
      { type: 'ip', value: '127.0.0.1' },
      { type: 'ip', value: '::1' },
    ],
    usages: ['serverAuth'],
  })
  return { ...listener, authorityPems: [authority.certificatePem] }
}

/**
 * Makes sure that `path` holds an administrator's key and certificate, and after them the authority, by which the
 * listener is recognised. Written with mode 0600, whole or not at all.
 */
export async function ensureAdminPem(
  path: string,
  authority: KeyedCertificate,
  { store, nowMs }: { store: Store; nowMs: number },
): Promise<void> {
  if (isUsable(path, authority, nowMs)) return
  const admin = await issueLeaf(authority, {
    commonName: 'shoal administrator',
    validForSeconds: ADMIN_VALID_SECONDS,
    names: [{ type: 'url', value: 'urn:shoal:kind:admin' }],
    usages: ['clientAuth'],
  })
  await store.addAudit({ ...BY_TRACKER, atMs: nowMs, action: 'admin certificate issued' })
  const pems = [admin.privateKeyPem, admin.certificatePem, authority.certificatePem]
  replaceFile(path, pems.map((pem) => `${pem.trimEnd()}\n`).join(''))
}

function isUsable(path: string, authority: KeyedCertificate, nowMs: number): boolean {
  try {
    const certificate = new X509Certificate(readFileSync(path))
    const leftMs = certificate.validToDate.getTime() - nowMs
    const issuer = new X509Certificate(authority.certificatePem)
    return certificate.verify(issuer.publicKey) && leftMs > ADMIN_LEFT_SECONDS_MIN * 1000
  } catch {
    // Absent or unreadable: it is written anew.
    return false
  }
}
