import { z } from 'zod'
import type { CachedBlob, Client } from '../../client/index.ts'
import { CacheUnknownError } from '../../client/index.ts'
import { isDigest } from '../../core/digest.ts'
import { imageName, isDigestMeant, isMeant, type NamedImage } from '../../core/image-name.ts'
import type { ImagesSeen, KnownImage } from '../images-seen.ts'
import { type LocalRoute, localRoute } from '../local-api.ts'

/** `shoal cache`. */

export interface CacheRouteParts {
  client: Pick<Client, 'cache' | 'status'>
  images: Pick<ImagesSeen, 'list'>
}

const nameSchema = z.strictObject({ name: z.string().min(1).max(1024) })
const bytes = z.int().nonnegative()
const pruneSchema = z.strictObject({
  unusedForMs: bytes.optional(),
  toBytes: bytes.optional(),
  isAll: z.boolean().optional(),
  isDryRun: z.boolean().optional(),
})

export function cacheRoutes(parts: CacheRouteParts): LocalRoute[] {
  const { cache } = parts.client
  return [
    { method: 'GET', path: '/v1/cache', answer: () => contents(parts) },
    {
      method: 'POST',
      path: '/v1/cache/verify',
      async answer({ gone }) {
        const blobs: object[] = []
        await cache.verify(({ wrongBytes, checkedBytes, ...blob }) => {
          blobs.push({ ...shown(blob), checkedBytes, wrongBytes })
        }, gone)
        return { blobs }
      },
    },
    localRoute({
      method: 'POST',
      path: '/v1/cache/prune',
      body: pruneSchema,
      async answer({ body: { isAll = false, isDryRun = false, ...rest } }) {
        const blobs = await cache.prune({ ...rest, isAll, isDryRun })
        const { held } = parts.client.status()
        return { isDryRun, blobs: blobs.map(shown), heldBytes: held.bytes }
      },
    }),
    localRoute({
      method: 'PUT',
      path: '/v1/cache/pins',
      body: nameSchema,
      answer({ body: { name } }) {
        const pin = pinOf(parts, name)
        cache.pin(pin)
        return pin
      },
    }),
    localRoute({
      method: 'DELETE',
      path: '/v1/cache/pins',
      body: nameSchema,
      answer({ body: { name } }) {
        const pin = pinCalled(parts, name)
        cache.unpin(pin)
        return { name: pin }
      },
    }),
  ]
}

function contents({ client, images }: CacheRouteParts): object {
  const { cache } = client
  const { held } = client.status()
  const blobs = cache.list()
  const byHome = Map.groupBy(blobs, ({ registry, digest }) => `${registry} ${digest}`)
  const pins = cache.pins()
  const pinned = new Set(pins.map(({ name }) => name))
  return {
    ...cache.limits,
    heldBytes: held.bytes,
    pinnedBytes: held.pinnedBytes,
    evictions: held.evictions,
    images: images.list().flatMap((image) => {
      const here = image.blobs.flatMap(({ digest }) => byHome.get(`${image.registry} ${digest}`) ?? [])
      if (here.length === 0) return []
      return [{ ...imageShown(image, here), isPinned: pinned.has(pinNameOf(image)) }]
    }),
    blobs: blobs.map(shown),
    pins,
  }
}

function imageShown(image: KnownImage, here: readonly CachedBlob[]) {
  return {
    name: imageName(image),
    ...(image.digest === undefined ? {} : { digest: image.digest }),
    blobs: image.blobs.length,
    heldBlobs: here.filter(({ isWhole }) => isWhole).length,
    bytes: image.blobs.reduce((sum, blob) => sum + blob.bytes, 0),
    heldBytes: here.reduce((sum, blob) => sum + blob.heldBytes, 0),
    used: timeText(Math.max(...here.map(({ usedAtMs }) => usedAtMs))),
  }
}

function shown({ usedAtMs, ...blob }: CachedBlob) {
  return { ...blob, used: timeText(usedAtMs) }
}

/** @throws CacheUnknownError */
function pinOf({ client, images }: CacheRouteParts, text: string) {
  const image = images.list().find((one) => isMeant(text, one))
  if (image !== undefined) return { name: pinNameOf(image), blobs: image.blobs }
  const blob = client.cache.list().find(({ digest }) => isDigestMeant(text, digest))
  if (blob === undefined) {
    throw new CacheUnknownError(`this node has seen no image and holds no blob called ${text}`, {
      hint: '`shoal cache ls` shows both. Pull the image once, so that the node sees its manifest.',
    })
  }
  return { name: blob.digest, blobs: [{ digest: blob.digest, bytes: blob.bytes }] }
}

/** The pin that people mean: its whole name, or what it was made by. The tag's image of now goes before older ones. @throws CacheUnknownError */
function pinCalled({ client, images }: CacheRouteParts, text: string): string {
  const names = client.cache.pins().map(({ name }) => name)
  const image = images.list().find((one) => isMeant(text, one))
  const wanted = image === undefined ? undefined : pinNameOf(image)
  const found =
    names.find((name) => name === text || name === wanted) ??
    names.find((name) => isMeant(text, pinnedImage(name)))
  if (found !== undefined) return found
  throw new CacheUnknownError(`nothing is pinned as ${text}`, { hint: '`shoal cache ls` shows all pins.' })
}

/** A tag moves: what is pinned is the image that it meant. */
function pinNameOf(image: KnownImage): string {
  const name = imageName(image)
  return image.digest === undefined || isDigest(image.reference) ? name : `${name}@${image.digest}`
}

/** What the name of a pin says; its image may be forgotten. */
function pinnedImage(pin: string): NamedImage {
  if (isDigest(pin)) return { registry: '', repository: '', digest: pin }
  const [name = '', digest] = pin.split('@', 2)
  const [, registry = '', repository = '', reference] = /^([^/]*)\/(.*?)(?::([^/:]*))?$/.exec(name) ?? []
  return { registry, repository, reference, digest }
}

function timeText(ms: number): string {
  return new Date(ms).toISOString()
}
