import { join } from 'node:path'
import type { Logger } from 'pino'
import { z } from 'zod'
import { BoundedMap } from '../core/bounded-map.ts'
import { readOwnFile, replaceFile, replaceFileLater } from '../core/data-folder.ts'
import { isDigest } from '../core/digest.ts'
import { digestSchema } from '../core/tracker-api.ts'
import type { SeenImage } from '../proxy/pull-records.ts'

/** The images whose manifests passed: which blobs belong to which name. For people who look at the cache, and for pins. */

const IMAGES_FILE = 'images.json'
/** Bound of images; the oldest are forgotten. */
export const IMAGES_SEEN_MAX = 512
/** Bound of blobs of one image that are remembered: as many as a manifest that is read may have. */
const IMAGE_BLOBS_MAX = 1025
/** A larger file is not read: all images with thirty layers each stay below. Characters. */
const IMAGES_CHARS_MAX = 16 * 1024 * 1024
/** The file is written no more often: a killed node loses this much. */
const SAVE_EVERY_MS = 1_000

const imageSchema = z.strictObject({
  registry: z.string(),
  repository: z.string(),
  reference: z.string(),
  digest: digestSchema.optional(),
  blobs: z.array(z.strictObject({ digest: digestSchema, bytes: z.int().nonnegative() })).max(IMAGE_BLOBS_MAX),
})
const fileSchema = z.strictObject({
  version: z.literal(1),
  images: z.array(imageSchema).max(IMAGES_SEEN_MAX),
})

export type KnownImage = z.output<typeof imageSchema>

export class ImagesSeen {
  readonly #path: string
  readonly #log: Logger
  readonly #images = new BoundedMap<string, KnownImage>(IMAGES_SEEN_MAX)
  #timer: NodeJS.Timeout | undefined
  #saving: Promise<void> = Promise.resolve()

  constructor({ dataDir, log }: { dataDir: string; log: Logger }) {
    this.#path = join(dataDir, IMAGES_FILE)
    this.#log = log
    try {
      const text = readOwnFile(this.#path) ?? '{"version":1,"images":[]}'
      if (text.length > IMAGES_CHARS_MAX) throw new RangeError('the file is too long')
      for (const image of fileSchema.parse(JSON.parse(text)).images) this.#images.set(keyOf(image), image)
    } catch (err) {
      log.warn({ err, path: this.#path }, 'the list of images that were seen begins anew')
    }
  }

  saw({ registry, repository, reference, digest, blobs }: SeenImage): void {
    const image = {
      ...{ registry, repository, reference },
      ...(digest !== undefined && isDigest(digest) ? { digest } : {}),
      blobs: blobs.slice(0, IMAGE_BLOBS_MAX).map(({ digest, bytes }) => ({ digest, bytes })),
    }
    this.#images.set(keyOf(image), image)
    this.#timer ??= setTimeout(() => this.#save(), SAVE_EVERY_MS).unref()
  }

  /** The newest first. */
  list(): KnownImage[] {
    return [...this.#images.values()].reverse()
  }

  async close(): Promise<void> {
    await this.#saving
    if (this.#timer === undefined) return
    clearTimeout(this.#timer)
    try {
      replaceFile(this.#path, this.#text())
    } catch (err) {
      this.#log.warn({ err, path: this.#path }, 'the list of images that were seen cannot be written')
    }
  }

  #save(): void {
    this.#timer = undefined
    this.#saving = replaceFileLater(this.#path, this.#text()).catch((err: unknown) =>
      this.#log.warn({ err, path: this.#path }, 'the list of images that were seen cannot be written'),
    )
  }

  #text(): string {
    return JSON.stringify({ version: 1, images: [...this.#images.values()] })
  }
}

/** A tag that moved is another image; the older one stays as long as there is room. */
function keyOf({ registry, repository, reference, digest }: Omit<KnownImage, 'blobs'>): string {
  return `${registry}/${repository}@${digest ?? reference}`
}
