import { BoundedMap } from '../../core/bounded-map.ts'
import { REVOCATION_COPIES_MAX } from '../../core/restore-api.ts'
import type { Revocation } from '../../core/tracker-api.ts'

/** Copies of changes of the signing key, among all copies that a node carries. */
const KEY_CHANGES_MAX = 8

/** Name, number and copy of a revocation. */
export type CarriedCopy = [name: string, sequence: number, copy: string]

export interface CarriedRecord {
  revocations: CarriedCopy[]
  keyChanges: string[]
}

/** What this node carries for a tracker that is restored from a backup: copies that the tracker signed. The node does not read them. */
export class CarriedCopies {
  #revocations = new BoundedMap<string, { sequence: number; copy: string }>(
    REVOCATION_COPIES_MAX - KEY_CHANGES_MAX,
  )
  readonly #keyChanges = new BoundedMap<string, true>(KEY_CHANGES_MAX)

  /** @param isFull all others are no longer in force */
  take(revocations: readonly Revocation[], isFull: boolean): void {
    if (isFull) this.#revocations = new BoundedMap(REVOCATION_COPIES_MAX - KEY_CHANGES_MAX)
    for (const revocation of revocations) {
      const { sequence, copy } = revocation
      if (sequence !== undefined && copy !== undefined)
        this.#revocations.set(nameOf(revocation), { sequence, copy })
    }
  }

  takeKeyChange(copy: string): void {
    this.#keyChanges.set(copy, true)
  }

  /** The copies for a tracker whose backup has the revocations up to this number. */
  after(sequence: number): string[] {
    const newer = [...this.#revocations.values()].filter((it) => it.sequence > sequence)
    return [...newer.map(({ copy }) => copy), ...this.#keyChanges.keys()]
  }

  record(): CarriedRecord {
    const revocations = [...this.#revocations.entries()]
    return {
      revocations: revocations.map(([name, { sequence, copy }]) => [name, sequence, copy]),
      keyChanges: [...this.#keyChanges.keys()],
    }
  }

  restore({ revocations, keyChanges }: CarriedRecord): void {
    for (const [name, sequence, copy] of revocations) this.#revocations.set(name, { sequence, copy })
    for (const copy of keyChanges) this.takeKeyChange(copy)
  }
}

function nameOf(revocation: Revocation): string {
  return revocation.kind === 'node' ? `node ${revocation.node}` : `pull ${revocation.pull}`
}
