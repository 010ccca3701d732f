import { randomBytes, X509Certificate } from 'node:crypto'
import { existsSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import type { Logger } from 'pino'
import { ADMIN_CERTIFICATE_SECONDS_MAX } from '../../core/admin-api/administrators.ts'
import { issueLeaf, type KeyedCertificate, makeAuthority } from '../../core/issue-certificate.ts'
import type { TlsMaterial } from '../api/https-listener.ts'
import { openAuthorityKey } from '../authority/sealed-keys.ts'
import { placeOf, type Sealer } from '../authority/sealer.ts'
import { RefusedError } from '../errors.ts'
import type { AuditEntry } from '../store/audit.ts'
import type { ActedBy, AuthorityRecord, Store } from '../store/store.ts'

/** Ten years: operators rotate an authority, and it does not expire before. */
const AUTHORITY_VALID_SECONDS = 10 * 365 * 24 * 3600
/** A year; renewed at every start and at every change of the authority. */
const LISTENER_VALID_SECONDS = 365 * 24 * 3600
/** Digits of a certificate's SHA-256 in the audit log: 64 bits tell certificates apart. */
const FINGERPRINT_CHARS = 16
const PLACE = placeOf('adminAuthority', '')

/** A running change of the admin authority. */
export interface AdminRotation {
  previous: AdminAuthority
  /** By then every certificate of the previous authority has ended. */
  previousEndsAtMs: number
}

/** One unsealed authority; it lives only in this process's memory. */
interface AdminAuthority extends KeyedCertificate {
  certificate: X509Certificate
  createdAtMs: number
}

/** An administrator's certificate, and the authorities by which its owner recognises the listener. */
export interface AdminCertificate {
  certificate: string
  /** All authorities trusted now; one of them issued the listener's certificate. */
  authorities: string[]
}

/**
 * The admin API's own authorities, separate from the clusters', so that no node certificate ever opens it. The newest
 * issues administrators' certificates at once, because only this tracker verifies them. The oldest issues the listener's
 * certificate: during a change, clients that know only the previous authority must still recognise it.
 * Invariant: everything in memory is also in the store, sealed.
 */
export class AdminAuthorities {
  readonly #store: Store
  readonly #sealer: Sealer
  #newestFirst: readonly AdminAuthority[] = []
  readonly #onChange: (() => Promise<void>)[] = []

  private constructor(store: Store, sealer: Sealer) {
    this.#store = store
    this.#sealer = sealer
  }

  /** Unseals the authorities, or makes one at the first start. @throws UnsealError if the store was altered */
  static async load(store: Store, sealer: Sealer, nowMs: number): Promise<AdminAuthorities> {
    const admins = new AdminAuthorities(store, sealer)
    const known = await store.adminAuthorities()
    admins.#newestFirst = known.map((record) => admins.#opened(record))
    if (known.length === 0) {
      await admins.#add({ replaces: false }, 'admin authority created', { actor: 'tracker', nowMs })
    }
    return admins
  }

  /** Takes up what another tracker put into the store. @throws UnsealError, and changes nothing */
  async reload(): Promise<void> {
    const before = this.#pems.join()
    this.#newestFirst = (await this.#store.adminAuthorities()).map((record) => this.#opened(record))
    if (this.#pems.join() !== before) await this.#changed()
  }

  /** Called after every change, so that the listener trusts and presents what it should. */
  onChange(listener: () => Promise<void>): void {
    this.#onChange.push(listener)
  }

  /** Undefined if there is only one authority. */
  get rotation(): AdminRotation | undefined {
    const [newest, previous] = this.#newestFirst
    if (newest === undefined || previous === undefined) return undefined
    return { previous, previousEndsAtMs: newest.createdAtMs + ADMIN_CERTIFICATE_SECONDS_MAX * 1000 }
  }

  hasIssued(certificate: X509Certificate): boolean {
    return this.#newestFirst.some((authority) => certificate.verify(authority.certificate.publicKey))
  }

  /** The admin listener's certificate, and the authorities whose certificates it accepts. */
  async listenerTls(): Promise<TlsMaterial> {
    const listener = await issueLeaf(this.#newestFirst.at(-1)!, {
      commonName: 'shoal tracker admin listener',
      validForSeconds: LISTENER_VALID_SECONDS,
      names: [
        { type: 'dns', value: 'localhost' },
        { type: 'ip', value: '127.0.0.1' },
        { type: 'ip', value: '::1' },
      ],
      usages: ['serverAuth'],
    })
    return { ...listener, authorityPems: this.#pems }
  }

  /** @param spki checked by `checkedP256Spki`; the private key stays with its maker */
  async issue(spki: Buffer, validForSeconds: number, by: ActedBy): Promise<AdminCertificate> {
    if (validForSeconds > ADMIN_CERTIFICATE_SECONDS_MAX)
      throw new RangeError('no certificate lasts that long')
    const { certificatePem } = await issueLeaf(this.#newestFirst[0]!, {
      commonName: 'shoal administrator',
      validForSeconds,
      names: [{ type: 'url', value: 'urn:shoal:kind:admin' }],
      usages: ['clientAuth'],
      spki,
    })
    const target = shortOf(new X509Certificate(certificatePem))
    await this.#store.addAudit(auditOf(by, 'admin certificate issued', target))
    return { certificate: certificatePem, authorities: this.#pems }
  }

  /**
   * Adds an authority, which issues from now on.
   * @param isLeaked somebody else has the previous authority's key or a certificate: it ends in the same step
   * @throws RefusedError ROTATION_UNDER_WAY while an earlier authority is still trusted, unless it leaked
   */
  rotate({ isLeaked }: { isLeaked: boolean }, by: ActedBy): Promise<AdminRotation | undefined> {
    return this.#sealer.inTurn(async () => {
      if (this.rotation !== undefined && !isLeaked) {
        throw new RefusedError('ROTATION_UNDER_WAY', 'an earlier admin authority is still trusted')
      }
      const action = isLeaked
        ? 'admin authority added after a leak, earlier ones withdrawn'
        : 'admin authority added'
      await this.#add({ replaces: isLeaked }, action, by)
      return this.rotation
    })
  }

  /** Ends a rotation: certificates of the previous authority no longer count. @throws RefusedError ROTATION_NONE */
  withdraw(by: ActedBy): Promise<void> {
    return this.#sealer.inTurn(async () => {
      const { rotation } = this
      if (rotation === undefined) throw new RefusedError('ROTATION_NONE', 'there is one admin authority')
      const { previous } = rotation
      const audit = auditOf(by, 'admin authority withdrawn', shortOf(previous.certificate))
      await this.#store.removeAdminAuthority(previous.certificatePem, audit)
      this.#newestFirst = this.#newestFirst.filter((one) => one !== previous)
      await this.#changed()
    })
  }

  /** Withdraws an authority whose last certificate has ended. */
  async withdrawEnded(nowMs: number): Promise<void> {
    const { rotation } = this
    if (rotation === undefined || nowMs < rotation.previousEndsAtMs) return
    await this.withdraw({ actor: 'tracker', nowMs })
  }

  get #pems(): string[] {
    return this.#newestFirst.map(({ certificatePem }) => certificatePem)
  }

  async #add({ replaces }: { replaces: boolean }, action: string, by: ActedBy): Promise<void> {
    const made = await makeAuthority({
      // Every name is unique, because TLS finds an issuer by its name.
      commonName: `shoal tracker admin ${randomBytes(8).toString('hex')}`,
      validForSeconds: AUTHORITY_VALID_SECONDS,
    })
    const sealedKey = this.#sealer.seal(PLACE, Buffer.from(made.privateKeyPem))
    const record = { certificatePem: made.certificatePem, sealedKey, createdAtMs: by.nowMs }
    const added = this.#opened(record)
    await this.#store.addAdminAuthority(record, { replaces }, auditOf(by, action, shortOf(added.certificate)))
    this.#newestFirst = replaces ? [added] : [added, ...this.#newestFirst]
    await this.#changed()
  }

  #opened(record: AuthorityRecord): AdminAuthority {
    const { certificatePem, createdAtMs } = record
    return { certificatePem, createdAtMs, ...openAuthorityKey(this.#sealer, PLACE, record) }
  }

  async #changed(): Promise<void> {
    for (const listener of this.#onChange) await listener()
  }
}

/**
 * Up to 0.1 the data folder had an administrator's key. Its certificate ended when its authority was dropped from the
 * store (store/schema.ts); this removes the file.
 */
export function removeAdminPem(dataDir: string, log: Pick<Logger, 'warn'>): void {
  const path = join(dataDir, 'admin.pem')
  if (existsSync(path)) log.warn({ path }, 'an old admin.pem was removed: its certificate no longer counts')
  for (const old of [path, `${path}.new`]) rmSync(old, { force: true })
}

/** For the audit log. */
export function shortOf({ fingerprint256 }: X509Certificate): string {
  return fingerprint256.replaceAll(':', '').slice(0, FINGERPRINT_CHARS).toLowerCase()
}

function auditOf({ actor, nowMs }: ActedBy, action: string, target: string): AuditEntry {
  return { atMs: nowMs, actor, action, cluster: null, target }
}
