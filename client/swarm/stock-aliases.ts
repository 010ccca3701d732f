import type { InfoHash } from '../../core/metainfo.ts'
import { infoHashOf } from '../../core/torrent.ts'
import type { Admission } from '../membership/admission.ts'
import type { ClusterTrustState } from '../membership/cluster-trust.ts'
import type { StoredBlob } from '../store/blob-store.ts'

/**
 * The names under which stock BitTorrent clients find this node's blobs (docs/stock-clients.md). Invariant: only
 * whole blobs of registries without authentication have one, since a stock client has no token to prove.
 */
export class StockAliases {
  readonly #admission: Admission
  readonly #trust: ClusterTrustState
  /** By the authority that the alias is bound to. Authorities change, and then both names count for a while. */
  readonly #known = new WeakMap<StoredBlob, Map<string, InfoHash>>()

  constructor(options: { admission: Admission; trust: ClusterTrustState }) {
    this.#admission = options.admission
    this.#trust = options.trust
  }

  isOffered({ key, isComplete }: StoredBlob): boolean {
    return isComplete && !this.#admission.needsProof(key)
  }

  /** False while the blob's SHA-1 hashes are unknown. */
  isNamed(stored: StoredBlob, name: InfoHash): boolean {
    if (!this.isOffered(stored)) return false
    return this.#trust.authorities.some((authorityPem) => this.#aliasUnder(authorityPem, stored) === name)
  }

  #aliasUnder(authorityPem: string, stored: StoredBlob): InfoHash | undefined {
    const { piecesSha1, key, layout } = stored
    if (piecesSha1 === undefined) return undefined
    const aliases = this.#known.get(stored) ?? new Map<string, InfoHash>()
    this.#known.set(stored, aliases)
    const alias =
      aliases.get(authorityPem) ??
      infoHashOf({ digest: key.digest, bytes: layout.blobBytes, piecesSha1, authorityPem })
    aliases.set(authorityPem, alias)
    return alias
  }
}
