import { z } from 'zod'
import { BoundedMap } from '../core/bounded-map.ts'
import { isDigest } from '../core/digest.ts'
import { digestSchema } from '../core/tracker-api.ts'

/**
 * The names that people know images by. A client asks for the tag first, and then for the manifest of its platform by
 * digest; an index leads from one to the other (OCI image-spec, "Image Index"). For display only.
 */

/** Manifests whose tag is remembered. */
const TAGS_MAX = 1024
/** Platforms of one index. */
const INDEX_MANIFESTS_MAX = 256

const indexSchema = z.object({
  manifests: z.array(z.object({ digest: digestSchema })).max(INDEX_MANIFESTS_MAX),
})

export class ImageNames {
  readonly #tags = new BoundedMap<string, string>(TAGS_MAX)

  /** The registry answered a request for `reference` with the manifest or index `digest`. */
  saw(home: string, reference: string, digest: string | undefined): void {
    if (digest !== undefined && !isDigest(reference)) this.#tags.set(`${home}@${digest}`, reference)
  }

  /** @param json the body of an answer for `reference`; one that is malformed changes nothing */
  sawIndex(home: string, reference: string, json: unknown): void {
    const tag = this.nameOf(home, reference)
    const { manifests = [] } = indexSchema.safeParse(json).data ?? {}
    if (!isDigest(tag)) for (const { digest } of manifests) this.saw(home, tag, digest)
  }

  /** The tag that led to `reference`, or itself. */
  nameOf(home: string, reference: string): string {
    return this.#tags.get(`${home}@${reference}`) ?? reference
  }
}
