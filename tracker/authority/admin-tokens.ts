import { createHash } from 'node:crypto'
import type { Role } from '../../core/admin-api/call.ts'
import { RefusedError } from '../errors.ts'
import type { AdminTokenRecord } from '../store/admin-tokens.ts'
import type { ActedBy, Store } from '../store/store.ts'

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

/** The tokens of administrators. Invariant: what is in memory is in the store. */
export class AdminTokens {
  readonly #store: Store
  #byHash = new Map<string, AdminTokenRecord>()

  private constructor(store: Store) {
    this.#store = store
  }

  static async load(store: Store): Promise<AdminTokens> {
    const tokens = new AdminTokens(store)
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
    if (!(await this.#store.putAdminToken({ ...line, hash }, audit))) {
      throw new RefusedError('ADMIN_TOKEN_EXISTS', `there is a token named ${name}`)
    }
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
    this.#byHash = new Map((await this.#store.adminTokens()).map((token) => [token.hash, token]))
  }

  #live(nowMs: number): AdminTokenRecord[] {
    return [...this.#byHash.values()].filter(({ endsAtMs }) => endsAtMs > nowMs)
  }
}

function auditOf(action: string, target: string, { actor, nowMs }: ActedBy) {
  return { atMs: nowMs, actor, action, cluster: null, target }
}
