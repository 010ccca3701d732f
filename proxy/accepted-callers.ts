import { createHash } from 'node:crypto'
import { BoundedMap } from '../core/bounded-map.ts'
import { endsAtMs } from '../core/credential-expiry.ts'
import type { Digest } from '../core/digest.ts'
import type { RegistryHost, Repository } from '../core/repository.ts'
import type { BlobGet } from './blob-request.ts'

/** How long the registry's answer about one blob counts for the repository's other blobs. */
export const ACCEPTED_CALLER_MS = 60_000
/** Callers with a repository each: a hash and two times. The oldest are forgotten, and the registry is asked again. */
export const ACCEPTED_CALLERS_MAX = 1024
/** How long a manifest's list of blobs counts: as long as the registry's word that a blob is in a repository. */
export const NAMED_MS = 3600_000
/** Blobs that manifests named to a caller: about 60 images with all layers. The oldest are forgotten. */
export const NAMED_BLOBS_MAX = 8192

/** Who asks: one Authorization header, in one repository. */
interface Caller {
  repository: Repository
  authorization: string | undefined
}

/** `isAccepted`: not if strangers get the blob as well. */
interface Word {
  atMs: number
  untilMs: number
  isAccepted: boolean
}

/**
 * Callers whom a registry lets read a repository. A registry's rights are those of a repository (OCI distribution-spec), so
 * what it said about one blob says it about those others that are in the repository too, as its manifest and its own
 * answer show. Invariants: an acceptance is the registry's own yes to this very Authorization header (its hash; no
 * header is accepted at a registry without credentials only) for a blob of this repository that it refuses to strangers, who are asked by the same method;
 * it counts for a minute and never outlives the token. With a query the registry may be asked for something else, so such
 * requests neither give nor get anything here. A blob counts as named when the registry gave a manifest with it
 * to this very header.
 */
export class AcceptedCallers {
  readonly #accepted = new BoundedMap<string, Word>(ACCEPTED_CALLERS_MAX)
  readonly #namedUntilMs = new BoundedMap<string, number>(NAMED_BLOBS_MAX)
  readonly #asking = new Map<string, Promise<unknown>>()
  readonly #judging = new Map<string, Promise<unknown>>()
  readonly #nowMs: () => number

  constructor(nowMs: () => number = Date.now) {
    this.#nowMs = nowMs
  }

  /** The registry accepted the caller for a blob of the repository, and not everybody. */
  note(registry: RegistryHost, wanted: BlobGet, atMs = this.#nowMs(), isAccepted = true): void {
    if (wanted.query !== '') return
    const endMs = endsAtMs(wanted.credential, atMs) ?? Number.POSITIVE_INFINITY
    const untilMs = Math.min(atMs + ACCEPTED_CALLER_MS, endMs)
    this.#accepted.set(idOf(registry, wanted), { atMs, untilMs, isAccepted })
  }

  /**
   * The registry accepted the caller for a blob; that counts if it refuses this blob to strangers. Asks once a minute for
   * each caller, whatever the answer: a repository may be open in part, and then each blob is asked for.
   */
  judge(registry: RegistryHost, wanted: BlobGet, isRefusedToStrangers: () => Promise<boolean>): void {
    if (wanted.query !== '' || wanted.authorization === undefined) return
    const id = idOf(registry, wanted)
    const atMs = this.#nowMs()
    if (this.#judging.has(id) || (this.#accepted.get(id)?.untilMs ?? 0) > atMs) return
    const judged = isRefusedToStrangers()
      .then((isRefused) => this.note(registry, wanted, atMs, isRefused))
      .catch(() => undefined)
      .finally(() => this.#judging.delete(id))
    this.#judging.set(id, judged)
  }

  /** The registry gave the caller a manifest of the repository that names these blobs. */
  named(registry: RegistryHost, caller: Caller, digests: readonly Digest[]): void {
    const id = idOf(registry, caller)
    for (const digest of digests) this.#namedUntilMs.set(`${id} ${digest}`, this.#nowMs() + NAMED_MS)
  }

  /** The registry is being asked about a blob: the answer may be enough for others of the same caller. */
  asks(registry: RegistryHost, wanted: BlobGet, answer: Promise<unknown>): void {
    const id = idOf(registry, wanted)
    if (this.#asking.has(id)) return
    const ended = () => void this.#asking.delete(id)
    this.#asking.set(id, answer.then(ended, ended))
  }

  /**
   * When the registry accepted the caller for another blob of the repository, if that counts for this blob; waits for a
   * question that is under way. Whether the blob is in the repository is for the registry to say, too.
   */
  async find(registry: RegistryHost, wanted: BlobGet): Promise<number | undefined> {
    const id = idOf(registry, wanted)
    if (wanted.query !== '' || !this.#isNamed(id, wanted.digest)) return undefined
    await this.#asking.get(id)
    await this.#judging.get(id)
    const known = this.#accepted.get(id)
    return known?.isAccepted && known.untilMs > this.#nowMs() ? known.atMs : undefined
  }

  #isNamed(id: string, digest: Digest): boolean {
    return (this.#namedUntilMs.get(`${id} ${digest}`) ?? 0) > this.#nowMs()
  }
}

function idOf(registry: RegistryHost, { repository, authorization }: Caller): string {
  return createHash('sha256')
    .update(JSON.stringify([registry, repository, authorization ?? null]))
    .digest('base64url')
}
