import type { BlocksNews } from '../../core/blocks-api.ts'
import type { BlobKey } from '../client.ts'
import { BlobBlockedError } from '../errors.ts'

interface OfRepository {
  registry: string
  repository: string
}

/**
 * What an operator blocked, as the tracker last said. Invariant: the newest list counts, whichever tracker of the cluster
 * answered last, and also after a restart.
 */
export class Blocks {
  #news: BlocksNews | undefined
  #keys: ReadonlySet<string> = new Set()
  #isVersionKnown = false

  /** For the tracker's next answer, which may leave the list out; undefined before it named one: older ones refuse the field. */
  get version(): number | undefined {
    return this.#isVersionKnown ? this.#news?.version : undefined
  }

  /** The tracker knows no blocks. */
  forgetVersion(): void {
    this.#isVersionKnown = false
  }

  /** Takes the tracker's answer; undefined: it says nothing new. */
  take(news: BlocksNews | undefined): void {
    if (news === undefined) return
    this.#isVersionKnown = true
    this.restore(news)
  }

  /** What a tracker said before a restart. */
  restore(news: BlocksNews): void {
    if (news.version <= (this.#news?.version ?? -1)) return
    this.#news = news
    const textOf = (block: BlocksNews['list'][number]) =>
      block.kind === 'digest' ? block.digest : `${block.registry}/${block.repository}`
    this.#keys = new Set(news.list.map(textOf))
  }

  get hasAny(): boolean {
    return this.#keys.size > 0
  }

  hasDigest({ digest }: Pick<BlobKey, 'digest'>): boolean {
    return this.hasAny && this.#keys.has(digest)
  }

  hasRepository({ registry, repository }: OfRepository): boolean {
    return this.hasAny && this.#keys.has(`${registry}/${repository}`)
  }

  /** Why the blob is not shared with whom it is granted through this repository; undefined: it is. */
  whyNot(blob: OfRepository & Pick<BlobKey, 'digest'>): BlobBlockedError | undefined {
    if (this.hasDigest(blob)) return new BlobBlockedError('the blob is blocked in this cluster')
    return this.hasRepository(blob)
      ? new BlobBlockedError('the repository is blocked in this cluster')
      : undefined
  }

  /** For the time after a restart. */
  record(): BlocksNews | undefined {
    return this.#news
  }
}
