import type { Sealer } from '../authority/sealer.ts'
import type { AcceptanceRecord, Marked, MembershipRecord } from '../store/memory.ts'
import type { Store } from '../store/store.ts'

const ACCEPTANCE = 'acceptance'
const MEMBERSHIP = 'membership'

/**
 * The registry's answers as trackers keep them for one another. An acceptance or a membership opens a pull, so each is
 * stored with a mark that needs the data key: a row that something else wrote, or changed, does not count.
 */
export class StoredAnswers {
  readonly #store: Pick<Store, 'acceptance' | 'membership'>
  readonly #sealer: Sealer

  constructor({ store, sealer }: { store: Pick<Store, 'acceptance' | 'membership'>; sealer: Sealer }) {
    this.#store = store
    this.#sealer = sealer
  }

  /** What another tracker saved. @throws StoreUnavailableError */
  async acceptance(id: string): Promise<AcceptanceRecord | undefined> {
    const record = await this.#store.acceptance(id)
    return record && this.genuineAcceptances([record])[0]
  }

  /** What another tracker saved. @throws StoreUnavailableError */
  async membership(id: string): Promise<MembershipRecord | undefined> {
    const record = await this.#store.membership(id)
    return record && this.genuineMemberships([record])[0]
  }

  markedAcceptances(records: readonly AcceptanceRecord[]): Marked<AcceptanceRecord>[] {
    return records.map((it) => ({ ...it, mark: this.#sealer.mark(ACCEPTANCE, acceptanceText(it)) }))
  }

  markedMemberships(records: readonly MembershipRecord[]): Marked<MembershipRecord>[] {
    return records.map((it) => ({ ...it, mark: this.#sealer.mark(MEMBERSHIP, membershipText(it)) }))
  }

  genuineAcceptances(records: readonly Marked<AcceptanceRecord>[]): Marked<AcceptanceRecord>[] {
    return records.filter((it) => this.#isGenuine(it.mark, ACCEPTANCE, acceptanceText(it)))
  }

  genuineMemberships(records: readonly Marked<MembershipRecord>[]): Marked<MembershipRecord>[] {
    return records.filter((it) => this.#isGenuine(it.mark, MEMBERSHIP, membershipText(it)))
  }

  #isGenuine(mark: Buffer | null, place: string, text: string): boolean {
    return mark !== null && this.#sealer.isMark(mark, place, text)
  }
}

function acceptanceText({ id, digest, untilMs }: AcceptanceRecord): string {
  return JSON.stringify([id, digest, untilMs])
}

function membershipText({ id, bytes, untilMs }: MembershipRecord): string {
  return JSON.stringify([id, bytes, untilMs])
}
