import { BoundedMap } from '../../core/bounded-map.ts'
import { type Content, type MadeImage, makeOddImage, type OddImage } from './odd-image.ts'

/** Images in memory at one time; others are made again when they are asked for. */
const IMAGES_MAX = 24
/** Blobs whose image is remembered. */
const BLOBS_MAX = 100_000

/** What the odd registries hold: each tag of each repository, made when it is first asked for. */
export class OddContent {
  readonly #images: Map<string, OddImage>
  readonly #made = new BoundedMap<string, MadeImage>(IMAGES_MAX)
  /** Tags by the digest of their manifest, and of their blobs. */
  readonly #tags = new BoundedMap<string, { repository: string; tag: string }>(BLOBS_MAX)

  constructor(images: OddImage[]) {
    this.#images = new Map(images.map((image) => [image.repository, image]))
    if (this.#images.size !== images.length) throw new RangeError('a repository is described twice')
  }

  manifest(repository: string, reference: string): Content | undefined {
    const tag = this.#tags.get(reference)?.tag ?? reference
    return this.#image(repository, tag)?.manifests.get(reference)
  }

  /** @returns the blob, and whether it is a layer */
  blob(digest: string): { bytes: Buffer; isLayer: boolean } | undefined {
    const found = this.#tags.get(digest)
    const image = found && this.#image(found.repository, found.tag)
    if (image === undefined) return undefined
    if (image.config.digest === digest) return { bytes: image.config.bytes, isLayer: false }
    const layer = image.layers.find((candidate) => candidate.digest === digest)
    return layer && { bytes: layer.bytes, isLayer: true }
  }

  #image(repository: string, tag: string): MadeImage | undefined {
    const description = this.#images.get(repository)
    if (description === undefined || !/^round\d+$/.test(tag)) return undefined
    const key = `${repository}:${tag}`
    const made = this.#made.get(key) ?? makeOddImage(description, tag)
    this.#made.set(key, made)
    const digests = [...made.manifests.keys(), made.config.digest, ...made.layers.map(({ digest }) => digest)]
    for (const digest of digests.filter((one) => one !== tag)) this.#tags.set(digest, { repository, tag })
    return made
  }
}
