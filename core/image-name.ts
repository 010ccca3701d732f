import { isDigest } from './digest.ts'
import { InvalidInputError } from './errors.ts'
import {
  DOCKER_HUB,
  parseRegistryHost,
  parseRepository,
  type RegistryHost,
  type Repository,
} from './repository.ts'

/** Names of images as people and runtimes write them, and what they mean. */

/** As image names call Docker Hub. */
const HUB_NAMES = ['docker.io', 'index.docker.io', DOCKER_HUB as string]

export interface NamedImage {
  registry: string
  repository: string
  /** Tag or digest. */
  reference?: string | undefined
  /** Of the manifest. */
  digest?: string | undefined
  /** Blobs by whose digests the image may be called too. */
  layers?: readonly { digest: string }[]
}

/**
 * Whether `image` is what a person wrote: a digest (of a manifest or a layer, from 12 digits on), or a name as runtimes take
 * it, with the tag or not. Without a tag, any image of the repository is meant.
 */
export function isMeant(text: string, image: NamedImage): boolean {
  const { registry, repository, reference, layers = [] } = image
  if (isDigestText(text)) {
    const digests = [image.digest, reference, ...layers.map(({ digest }) => digest)]
    return digests.some((digest) => digest !== undefined && isDigestMeant(text, digest))
  }
  const [name = '', digest] = text.split('@', 2)
  const [, path = '', tag] = /^(.*?)(?::([\w][\w.-]{0,127}))?$/.exec(name) ?? []
  if (placeOf(path) !== `${registry}/${repository}`) return false
  if (digest !== undefined) return image.digest === digest || reference === digest
  return tag === undefined || reference === tag
}

/** Whether a digest is what a person wrote: all of it, or its first 12 digits or more, with `sha256:` or without. */
export function isDigestMeant(text: string, digest: string): boolean {
  return isDigestText(text) && digest.startsWith(`sha256:${text.replace(/^sha256:/, '')}`)
}

function isDigestText(text: string): boolean {
  return /^(?:sha256:)?[0-9a-f]{12,64}$/.test(text)
}

/** As people write it: `registry.example.com/team/app:v1`, or with the digest. */
export function imageName({
  registry,
  repository,
  reference,
}: Pick<NamedImage, 'registry' | 'repository'> & { reference: string }): string {
  return `${registry}/${repository}${isDigest(reference) ? '@' : ':'}${reference}`
}

/**
 * The repository that a name with its registry, and without tag and digest, means.
 * @throws InvalidInputError for any other text
 */
export function parseImageRepository(text: string): { registry: RegistryHost; repository: Repository } {
  const at = text.indexOf('/')
  if (at < 0 || !hasHost(text.slice(0, at))) throw new InvalidInputError('no registry before the repository')
  const place = placeOf(text)
  const end = place.indexOf('/')
  return {
    registry: parseRegistryHost(place.slice(0, end)),
    repository: parseRepository(place.slice(end + 1)),
  }
}

function hasHost(first: string): boolean {
  return /[.:]|^localhost$/.test(first)
}

/** Registry and repository that a name without tag and digest means. */
function placeOf(path: string): string {
  const [first = '', ...rest] = path.split('/')
  const isNamed = rest.length > 0 && hasHost(first)
  if (isNamed && !HUB_NAMES.includes(first)) return path
  const inHub = isNamed ? rest.join('/') : path
  return `${DOCKER_HUB}/${inHub.includes('/') ? inHub : `library/${inHub}`}`
}
