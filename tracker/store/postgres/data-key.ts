import { StoreConflictError } from '../../errors.ts'
import { bytes } from '../records.ts'
import type { Query } from './sql.ts'

/** No value that this tracker sealed with an earlier data key is stored after another tracker replaced that key. */
export class DataKeyGuard {
  #sealed: Buffer | undefined

  /** This tracker seals with the key that is stored so. */
  uses(sealed: Buffer): void {
    this.#sealed = sealed
  }

  /** Run it inside the transaction that stores a sealed value. @throws StoreConflictError */
  async check(sql: Query): Promise<void> {
    const [row] = await sql`SELECT value FROM meta WHERE name = 'sealed-data-key' FOR SHARE`
    const isSame = row === undefined || this.#sealed === undefined || bytes(row.value).equals(this.#sealed)
    if (!isSame) throw new StoreConflictError('another tracker replaced the data key')
  }
}
