import type { IncomingMessage } from 'node:http'
import { gunzipSync } from 'node:zlib'
import { z } from 'zod'
import type { Client, ImagePlan } from '../client/index.ts'
import { parseBoundedJson } from '../core/bounded-json.ts'
import { BoundedMap } from '../core/bounded-map.ts'
import { type Digest, isDigest } from '../core/digest.ts'
import type { RegistryApi, RegistryHost, Repository } from '../core/repository.ts'
import { digestSchema } from '../core/tracker-api.ts'
import type { AcceptedCallers } from './accepted-callers.ts'
import { readCredential, readRepositoryPath } from './blob-request.ts'
import { ImageNames } from './image-names.ts'
import type { SeenImage } from './pull-records.ts'
import type { SizeLimit } from './size-limit.ts'
import type { ResponseWatcher } from './upstream/forward.ts'

/**
 * Reads image manifests as they pass, to learn which blobs Docker will ask for next and how large they are. A manifest
 * proves nothing: the registry decides who may have a blob, and the digest decides its bytes.
 */

/** Registries accept manifests of 4 MiB (OCI distribution-spec, "Pushing manifests"), so larger ones are rare. */
export const MANIFEST_BYTES_MAX = 4 * 1024 * 1024
/** Nesting of a manifest: its list of layers, a layer, its annotations; the rest is for newer formats. */
const MANIFEST_DEPTH_MAX = 16
/** An OCI image has at most 127 layers and a config; a manifest with more entries is something else. */
const MANIFEST_LAYERS_MAX = 1024
/** Bound of remembered blob sizes: about 30 images with all layers, about 1 MiB. */
const SIZES_MAX = 4096

const MANIFEST_REST = 'manifests/([^/?#%]+)'
const MEDIA_TYPES = new Set([
  'application/vnd.oci.image.manifest.v1+json',
  'application/vnd.docker.distribution.manifest.v2+json',
  // Of servers that do not know the type of their files. Whether it is a manifest shows its content.
  'application/json',
])

const INDEX_TYPES = new Set([
  'application/vnd.oci.image.index.v1+json',
  'application/vnd.docker.distribution.manifest.list.v2+json',
])

const descriptor = z.object({
  digest: digestSchema,
  size: z.int().nonnegative(),
  /** Foreign layers are elsewhere (OCI image-spec, "Descriptor"): Docker does not ask this registry for them. */
  urls: z.array(z.string()).optional(),
})
const manifestSchema = z.object({
  schemaVersion: z.literal(2),
  config: descriptor,
  layers: z.array(descriptor).max(MANIFEST_LAYERS_MAX),
})

export class ManifestPlans {
  readonly #client: Pick<Client, 'plan'>
  readonly #limit: Readonly<SizeLimit>
  readonly #onImage: (image: SeenImage) => void
  readonly #callers: Pick<AcceptedCallers, 'named'> | undefined
  readonly #names = new ImageNames()
  readonly #sizes = new BoundedMap<string, number>(SIZES_MAX)

  constructor(
    client: Pick<Client, 'plan'>,
    limit: Readonly<SizeLimit>,
    { onImage = () => {}, callers }: { onImage?: (image: SeenImage) => void; callers?: AcceptedCallers } = {},
  ) {
    this.#client = client
    this.#onImage = onImage
    this.#callers = callers
    this.#limit = limit
  }

  /** The blob's size from a manifest of this repository; undefined if none has passed lately. */
  bytesOf(registry: RegistryHost, repository: Repository, digest: Digest): number | undefined {
    return this.#sizes.get(`${registry}/${repository}@${digest}`)
  }

  /** @returns a watcher of the answer; undefined if the request is not for a manifest */
  watch(request: IncomingMessage, { host: registry, apiPath }: RegistryApi): ResponseWatcher | undefined {
    const found = readRepositoryPath(request.url ?? '', MANIFEST_REST, apiPath)
    const credential = readCredential(request)
    const { method } = request
    if (found === undefined || credential === undefined) return undefined
    const { repository } = found
    const reference = found.groups[0] ?? ''
    const home = `${registry}/${repository}`
    const onDigest = (digest: string | undefined) => this.#names.saw(home, reference, digest)
    if (method === 'HEAD') return new ManifestReader({ onDigest })
    if (method !== 'GET') return undefined
    const onIndex = (text: string) => this.#names.sawIndex(home, reference, parsed(text))
    const onManifest = (text: string, contentDigest: string | undefined) => {
      const blobs = blobsOfManifest(text)
      if (blobs.length === 0) return
      const digests = blobs.map(({ digest }) => digest)
      if (found.query === '')
        this.#callers?.named(registry, { repository, authorization: request.headers.authorization }, digests)
      const digest = isDigest(reference) ? reference : contentDigest
      this.#onImage({ registry, repository, reference: this.#names.nameOf(home, reference), digest, blobs })
      this.#accept({ registry, repository, credential, blobs })
    }
    return new ManifestReader({ onDigest, onIndex, onManifest })
  }

  /** The registry told a blob's length in another way. */
  noteBytes(
    registry: RegistryHost,
    repository: Repository,
    { digest, bytes }: ImagePlan['blobs'][number],
  ): void {
    this.#sizes.set(`${registry}/${repository}@${digest}`, bytes)
  }

  #accept(image: ImagePlan): void {
    for (const { digest, bytes } of image.blobs) {
      this.noteBytes(image.registry, image.repository, { digest, bytes })
    }
    const blobs = image.blobs.filter(({ bytes }) => bytes >= this.#limit.p2pMinBytes)
    if (blobs.length > 0) this.#client.plan({ ...image, blobs })
  }
}

interface ManifestEvents {
  /** The registry's name for what it answers (`Docker-Content-Digest`), which proves nothing. */
  onDigest(digest: string | undefined): void
  onIndex?(text: string): void
  onManifest?(text: string, digest: string | undefined): void
}

/** Collects one answer's body if it is a manifest or an index, and not too large. */
class ManifestReader implements ResponseWatcher {
  readonly #events: ManifestEvents
  #digest: string | undefined
  #isIndex = false
  #chunks: Buffer[] | undefined
  #isGzip = false
  #bytes = 0

  constructor(events: ManifestEvents) {
    this.#events = events
  }

  onStart(status: number, headers: Record<string, string | string[] | undefined>): void {
    const type = String(headers['content-type'] ?? '')
      .split(';')[0]!
      .trim()
      .toLowerCase()
    const encoding = String(headers['content-encoding'] ?? 'identity').toLowerCase()
    this.#isGzip = encoding === 'gzip' || encoding === 'x-gzip'
    this.#isIndex = INDEX_TYPES.has(type)
    if (status !== 200 || !(MEDIA_TYPES.has(type) || this.#isIndex)) return
    const named = String(headers['docker-content-digest'] ?? '')
    this.#digest = isDigest(named) ? named : undefined
    this.#events.onDigest(this.#digest)
    if (this.#isGzip || encoding === 'identity') this.#chunks = []
  }

  onData(chunk: Buffer): void {
    this.#bytes += chunk.length
    if (this.#bytes > MANIFEST_BYTES_MAX) this.#chunks = undefined
    this.#chunks?.push(chunk)
  }

  onEnd(): void {
    const body = this.#chunks && Buffer.concat(this.#chunks)
    this.#chunks = undefined
    const text = body && this.#isGzip ? unzipped(body) : body
    if (text === undefined) return
    if (this.#isIndex) this.#events.onIndex?.(text.toString('utf8'))
    else this.#events.onManifest?.(text.toString('utf8'), this.#digest)
  }
}

/** At once, so that the plan is there before Docker asks for a blob; 4 MiB take about 10 ms. Undefined if it is not gzip. */
function unzipped(body: Buffer): Buffer | undefined {
  try {
    return gunzipSync(body, { maxOutputLength: MANIFEST_BYTES_MAX })
  } catch {
    return undefined
  }
}

/** Undefined if it is no JSON within the bounds. */
function parsed(text: string): unknown {
  try {
    return parseBoundedJson(text, { charsMax: MANIFEST_BYTES_MAX, depthMax: MANIFEST_DEPTH_MAX })
  } catch {
    return undefined
  }
}

/** The blobs that a manifest's text names, each once; none if it is no image manifest. */
export function blobsOfManifest(text: string): ImagePlan['blobs'] {
  return blobsOf(parsed(text))
}

/** The blobs that an image manifest names, each once; none if it is no manifest. */
function blobsOf(json: unknown): ImagePlan['blobs'] {
  const manifest = manifestSchema.safeParse(json).data
  if (manifest === undefined) return []
  const own = [manifest.config, ...manifest.layers].filter(
    ({ urls }) => urls === undefined || urls.length === 0,
  )
  const sizes = new Map(own.map(({ digest, size }) => [digest, size]))
  return [...sizes].map(([digest, bytes]) => ({ digest, bytes }))
}
