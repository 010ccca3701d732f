import { createHash } from 'node:crypto'
import type { Logger } from 'pino'
import type { Role } from '../../core/admin-api/call.ts'
import { RefusedError, UnsealError } from '../errors.ts'
import type { AdminTokenRecord, SealedAdminToken } from '../store/admin-tokens.ts'
import type { ActedBy, Store } from '../store/store.ts'
import { placeOf, type Sealer } from './sealer.ts'

/** Bound of the tokens of administrators. */
export const ADMIN_TOKENS_MAX = 256

export interface NewAdminToken {
  name: string
  role: Role
  /** SHA-256 (64 hex digits) of the whole token. */
  hash: string
  validForSeconds: number
}

/** What administrators see of a token: all but its hash. */
export type AdminTokenLine = Omit<AdminTokenRecord, 'hash'>

const PLACE = placeOf('adminToken', '')

interface Deps {
  store: Store
  sealer: Sealer
  log: Pick<Logger, 'warn'>
}

/**
 * The tokens of administrators. Invariant: what is in memory is in the store. Each row carries itself, sealed: whoever can
 * write rows and has not the data key makes nobody an administrator, and raises no role.
 */
export class AdminTokens {
  readonly #store: Store
  readonly #sealer: Sealer
  readonly #log: Deps['log']
  #byHash = new Map<string, AdminTokenRecord>()
  /** Names of rows that were logged as foreign. */
  #foreign = new Set<string>()

  private constructor({ store, sealer, log }: Deps) {
    this.#store = store
    this.#sealer = sealer
    this.#log = log
  }

  static async load(deps: Deps): Promise<AdminTokens> {
    const tokens = new AdminTokens(deps)
    await tokens.reload()
    return tokens
  }

  /** By name, without ended ones. */
  list(nowMs: number): AdminTokenLine[] {
    return this.#live(nowMs).map(({ hash: _, ...line }) => line)
  }

  /**
   * Whose token it is; undefined: nobody's, or it has ended. The search by hash tells no part of a token by its time, since
   * a hash tells nothing of the text that it is of.
   */
  find(token: string, nowMs: number): AdminTokenRecord | undefined {
    const found = this.#byHash.get(createHash('sha256').update(token).digest('hex'))
    return found !== undefined && found.endsAtMs > nowMs ? found : undefined
  }

  /** @throws RefusedError ADMIN_TOKEN_EXISTS, ADMIN_TOKENS_TOO_MANY */
  async add({ name, role, hash, validForSeconds }: NewAdminToken, by: ActedBy): Promise<AdminTokenLine> {
    if (this.#live(by.nowMs).length >= ADMIN_TOKENS_MAX) {
      throw new RefusedError(
        'ADMIN_TOKENS_TOO_MANY',
        `there are ${ADMIN_TOKENS_MAX} tokens of administrators`,
      )
    }
    const line = { name, role, createdAtMs: by.nowMs, endsAtMs: by.nowMs + validForSeconds * 1000 }
    const audit = auditOf(`admin token created (${role})`, name, by)
    const isNew = await this.#sealer.inTurn(() => {
      const sealed = this.#sealer.seal(PLACE, Buffer.from(textOf({ ...line, hash })))
      return this.#store.putAdminToken({ ...line, hash, sealed }, audit)
    })
    if (!isNew) throw new RefusedError('ADMIN_TOKEN_EXISTS', `there is a token named ${name}`)
    await this.reload()
    return line
  }

  /** @throws RefusedError ADMIN_TOKEN_UNKNOWN */
  async withdraw(name: string, by: ActedBy): Promise<void> {
    const isGone = await this.#store.removeAdminToken(name, auditOf('admin token withdrawn', name, by))
    await this.reload()
    if (!isGone) throw new RefusedError('ADMIN_TOKEN_UNKNOWN', `there is no token named ${name}`)
  }

  /** Takes up what is in the store, also what another tracker put there. */
  async reload(): Promise<void> {
    const rows = await this.#store.adminTokens()
    const own = rows.filter((row) => this.#isOwn(row))
    const foreign = rows.filter((row) => !own.includes(row)).map(({ name }) => name)
    for (const name of foreign)
      if (!this.#foreign.has(name))
        this.#log.warn(
          { code: 'UNSEAL', name },
          'a token of an administrator in the store has no seal of this tracker, and does not count: withdraw it',
        )
    this.#foreign = new Set(foreign)
    this.#byHash = new Map(own.map(({ sealed: _, ...token }) => [token.hash, token]))
  }

  #isOwn({ sealed, ...token }: SealedAdminToken): boolean {
    try {
      return sealed !== null && this.#sealer.open(PLACE, sealed).toString() === textOf(token)
    } catch (error) {
      if (error instanceof UnsealError) return false
      throw error
    }
  }

  #live(nowMs: number): AdminTokenRecord[] {
    return [...this.#byHash.values()].filter(({ endsAtMs }) => endsAtMs > nowMs)
  }
}

function textOf({ name, role, hash, createdAtMs, endsAtMs }: AdminTokenRecord): string {
  return JSON.stringify([name, role, hash, createdAtMs, endsAtMs])
}

function auditOf(action: string, target: string, { actor, nowMs }: ActedBy) {
  return { atMs: nowMs, actor, action, cluster: null, target }
}
