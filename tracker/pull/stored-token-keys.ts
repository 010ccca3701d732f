import type { Logger } from 'pino'
import { placeOf, type Sealer } from '../authority/sealer.ts'
import { UnsealError } from '../errors.ts'
import type { AuditEntry } from '../store/audit.ts'
import type { SealedTokenKey, Store, TokenKeyRecord } from '../store/store.ts'

const PLACE = placeOf('tokenKey', '')

export interface StoredTokenKeysOptions {
  store: Pick<Store, 'tokenKeys' | 'putTokenKey' | 'removeTokenKey'>
  sealer: Sealer
  log: Logger
}

/**
 * Token keys in the store. Each row carries itself, sealed: whoever can write rows and has not the data key makes no tracker
 * trust a key. Withdrawals count in any case, as they only take away.
 */
export class StoredTokenKeys {
  readonly #store: StoredTokenKeysOptions['store']
  readonly #sealer: Sealer
  readonly #log: Logger
  /** Ids of rows that were logged as foreign. */
  #foreign = new Set<string>()

  constructor({ store, sealer, log }: StoredTokenKeysOptions) {
    this.#store = store
    this.#sealer = sealer
    this.#log = log
  }

  /** The oldest probe first. */
  async load(): Promise<TokenKeyRecord[]> {
    const rows = await this.#store.tokenKeys()
    const own = rows.filter((row) => row.withdrawnAtMs !== null || this.#isOwn(row))
    const foreign = rows.filter((row) => !own.includes(row)).map(({ id }) => id)
    for (const tokenKey of foreign)
      if (!this.#foreign.has(tokenKey))
        this.#log.warn(
          { code: 'UNSEAL', tokenKey },
          'a token key in the store has no seal of this tracker: it does not count until a probe confirms it again',
        )
    this.#foreign = new Set(foreign)
    return own.map(({ sealed: _, ...record }) => record)
  }

  put(record: TokenKeyRecord, audit: AuditEntry): Promise<void> {
    return this.#sealer.inTurn(async () => {
      const sealed = this.#sealer.seal(PLACE, Buffer.from(textOf(record)))
      await this.#store.putTokenKey({ ...record, sealed }, audit)
    })
  }

  remove(id: string, audit: AuditEntry): Promise<void> {
    return this.#store.removeTokenKey(id, audit)
  }

  #isOwn({ sealed, ...record }: SealedTokenKey): boolean {
    try {
      return sealed !== null && this.#sealer.open(PLACE, sealed).toString() === textOf(record)
    } catch (error) {
      if (error instanceof UnsealError) return false
      throw error
    }
  }
}

function textOf({ id, key, probedAtMs, trustedUntilMs, withdrawnAtMs }: TokenKeyRecord): string {
  return JSON.stringify([id, key, probedAtMs, trustedUntilMs, withdrawnAtMs])
}
