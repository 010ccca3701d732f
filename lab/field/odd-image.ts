import { createCipheriv, createHash } from 'node:crypto'
import { type Digest, digestFromHex } from '../../core/digest.ts'
import { architectureOfThisMachine } from '../image/static-program.ts'
import { TAR_END, tarHeader, tarPadding } from '../image/tar.ts'
import type { ImageReference } from '../pullers/puller.ts'

/**
 * Images whose bytes follow from repository and tag, so that the registry's program and the lab agree on them without
 * files: every tag is another image.
 */

export interface OddImage {
  /** Of one image only, whatever the registry. */
  repository: string
  layerBytes: number[]
  /** `artifact`: an OCI artifact whose layers are no archives. Default `docker`. */
  flavour?: 'docker' | 'oci' | 'artifact'
  oddities?: Oddity[]
}

/**
 * `repeated`: the first layer stands three times in the manifest. `tiny`: layers of one byte and of none. `sha512`: one
 * more layer under such a digest. `long`: a manifest of 3.9 MB. `untyped`: a manifest without its media type. `index`: the
 * tag names an index.
 */
export type Oddity = 'repeated' | 'tiny' | 'sha512' | 'long' | 'untyped' | 'index'

export interface Content {
  mediaType: string
  bytes: Buffer
}

export interface MadeImage {
  /** By tag and by digest. */
  manifests: Map<string, Content>
  /** In the manifest's order, without the config. */
  layers: { digest: string; bytes: Buffer }[]
  config: { digest: Digest; bytes: Buffer }
  manifestDigest: Digest
}

const TYPES = {
  docker: {
    manifest: 'application/vnd.docker.distribution.manifest.v2+json',
    config: 'application/vnd.docker.container.image.v1+json',
    layer: 'application/vnd.docker.image.rootfs.diff.tar.gzip',
  },
  oci: {
    manifest: 'application/vnd.oci.image.manifest.v1+json',
    config: 'application/vnd.oci.image.config.v1+json',
    layer: 'application/vnd.oci.image.layer.v1.tar',
  },
  artifact: {
    manifest: 'application/vnd.oci.image.manifest.v1+json',
    config: 'application/vnd.example.config+json',
    layer: 'application/vnd.example.file',
  },
} as const
const INDEX_TYPE = 'application/vnd.oci.image.index.v1+json'
const LONG_BYTES = 3_900_000
const SHA512_LAYER_BYTES = 900_000

export function makeOddImage(image: OddImage, tag: string): MadeImage {
  const flavour = image.flavour ?? 'docker'
  const types = TYPES[flavour]
  const oddities = new Set(image.oddities)
  const layers = layersOf(image, tag, flavour === 'docker')
  const config = Buffer.from(JSON.stringify(configOf(image.repository, tag, layers)))
  const descriptors = layers.map(({ digest, bytes }) => ({
    mediaType: types.layer,
    size: bytes.length,
    digest,
  }))
  const configDigest = sha256(config)
  const manifest = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      ...(oddities.has('untyped') ? {} : { mediaType: types.manifest }),
      ...(flavour === 'artifact' ? { artifactType: 'application/vnd.example.model' } : {}),
      config: { mediaType: types.config, size: config.length, digest: configDigest },
      layers: descriptors,
      ...(oddities.has('long') ? { annotations: { long: 'y'.repeat(LONG_BYTES) } } : {}),
    }),
  )
  const manifestDigest = sha256(manifest)
  const content = { mediaType: types.manifest, bytes: manifest }
  const manifests = new Map<string, Content>([
    [tag, content],
    [manifestDigest, content],
  ])
  if (oddities.has('index')) manifests.set(tag, indexOf(content, manifestDigest))
  return { manifests, layers, config: { digest: configDigest, bytes: config }, manifestDigest }
}

/**
 * What a puller needs to know of it. A layer under another digest than SHA-256 is only for pullers that look at the
 * algorithm (curl).
 */
export function referenceTo(image: OddImage, tag: string, host: string): ImageReference {
  const { manifestDigest, config, layers } = makeOddImage(image, tag)
  return {
    ...{ dir: '', tag, manifestDigest, configDigest: config.digest },
    name: `${host}/${image.repository}:${tag}`,
    // Not compressed: a layer is its own archive.
    layers: layers.map(({ digest, bytes }) => ({
      ...{ digest: digest as Digest, bytes: bytes.length, diffId: digest as Digest },
    })),
  }
}

export function sha256(bytes: Buffer): Digest {
  return digestFromHex(createHash('sha256').update(bytes).digest('hex'))
}

function layersOf({ repository, layerBytes, oddities = [] }: OddImage, tag: string, isArchive: boolean) {
  const seed = `${repository}:${tag}`
  const contents = layerBytes.map((length, index) => {
    const bytes = noise(`${seed}#${index}`, length)
    return isArchive ? archiveOf(`file-${index + 1}`, bytes) : bytes
  })
  if (oddities.includes('tiny')) contents.push(Buffer.from('x'), Buffer.alloc(0))
  const layers: MadeImage['layers'] = contents.map((bytes) => ({ digest: sha256(bytes), bytes }))
  if (oddities.includes('repeated')) layers.push(layers[0]!, layers[0]!)
  if (oddities.includes('sha512')) {
    const bytes = noise(`${seed}#sha512`, SHA512_LAYER_BYTES)
    layers.push({ digest: `sha512:${createHash('sha512').update(bytes).digest('hex')}`, bytes })
  }
  return layers
}

function configOf(repository: string, tag: string, layers: MadeImage['layers']): object {
  return {
    architecture: architectureOfThisMachine(),
    os: 'linux',
    created: '2024-01-01T00:00:00Z',
    config: { Cmd: ['/none'], Labels: { image: `${repository}:${tag}` } },
    rootfs: { type: 'layers', diff_ids: layers.map(({ digest }) => digest) },
    history: layers.map(() => ({ created: '2024-01-01T00:00:00Z' })),
  }
}

function indexOf({ mediaType, bytes }: Content, digest: Digest): Content {
  const entry = {
    mediaType,
    size: bytes.length,
    digest,
    platform: { os: 'linux', architecture: architectureOfThisMachine() },
  }
  const index = { schemaVersion: 2, mediaType: INDEX_TYPE, manifests: [entry] }
  return { mediaType: INDEX_TYPE, bytes: Buffer.from(JSON.stringify(index)) }
}

function archiveOf(name: string, bytes: Buffer): Buffer {
  const header = tarHeader({ name, mode: 0o644, bytes: bytes.length })
  return Buffer.concat([header, bytes, tarPadding(bytes.length), TAR_END])
}

/** The key stream of a cipher whose key follows from the seed. */
function noise(seed: string, length: number): Buffer {
  const key = createHash('sha256').update(seed).digest()
  return createCipheriv('aes-256-ctr', key, Buffer.alloc(16)).update(Buffer.alloc(length))
}
