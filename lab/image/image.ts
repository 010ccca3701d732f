import { createHash } from 'node:crypto'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type Digest, digestFromHex } from '../../core/digest.ts'
import { type Compression, type Layer, type LayerFile, writeLayer } from './layer.ts'
import { architectureOfThisMachine, type ProgramArchitecture, staticProgram } from './static-program.ts'

/**
 * Makes an image from this program alone, without a network: a statically linked program and incompressible data, as
 * an OCI image layout (image-spec, "Image Layout") that skopeo can push.
 */

const MEDIA = 'application/vnd.oci.image'
const PROGRAM_PATH = 'hello'
/** The line that the image's program prints. */
export const PROGRAM_LINE = 'The image that Shoal brought runs.'

export interface ImageOptions {
  /** Created here; becomes the OCI layout. */
  dir: string
  /** Data of each layer, in bytes; the layers are a little larger. The program is in the first. */
  layerDataBytes: number[]
  tag: string
  /** Default: gzip without compression. */
  compression?: Compression
  /** Default: this machine's. */
  architecture?: ProgramArchitecture
}

export interface LabImage {
  readonly dir: string
  readonly tag: string
  readonly manifestDigest: Digest
  readonly configDigest: Digest
  readonly layers: readonly Layer[]
}

export async function makeImage(options: ImageOptions): Promise<LabImage> {
  const { manifest, image } = await writeImage(options)
  writeLayout(options, { mediaType: `${MEDIA}.manifest.v1+json`, ...manifest })
  return image
}

/** An image for each architecture under one tag (image-spec, "Image Index"). @returns them, and the index's digest */
export async function makeImageIndex(
  options: Omit<ImageOptions, 'architecture'>,
): Promise<{ indexDigest: Digest; images: Record<ProgramArchitecture, LabImage> }> {
  const { amd64, arm64 } = {
    amd64: await writeImage({ ...options, architecture: 'amd64' }),
    arm64: await writeImage({ ...options, architecture: 'arm64' }),
  }
  const manifests = Object.entries({ amd64, arm64 }).map(([architecture, { manifest }]) => ({
    mediaType: `${MEDIA}.manifest.v1+json`,
    ...manifest,
    platform: { architecture, os: 'linux' },
  }))
  const mediaType = `${MEDIA}.index.v1+json`
  const index = writeJsonBlob(blobsDirOf(options), { schemaVersion: 2, mediaType, manifests })
  writeLayout(options, { mediaType, ...index })
  return { indexDigest: index.digest, images: { amd64: amd64.image, arm64: arm64.image } }
}

async function writeImage(options: ImageOptions): Promise<{ manifest: JsonBlob; image: LabImage }> {
  const { dir, tag, compression = { gzipLevel: 0 }, architecture = architectureOfThisMachine() } = options
  const blobsDir = blobsDirOf(options)
  mkdirSync(blobsDir, { recursive: true })
  const layers: Layer[] = []
  for (const files of layerFiles(options.layerDataBytes, architecture)) {
    layers.push(await writeLayer({ files, compression, blobsDir }))
  }
  const config = writeJsonBlob(blobsDir, imageConfig(layers, architecture))
  const manifest = writeJsonBlob(blobsDir, imageManifest(config, layers, compression))
  return {
    manifest,
    image: { dir, tag, manifestDigest: manifest.digest, configDigest: config.digest, layers },
  }
}

const blobsDirOf = ({ dir }: Pick<ImageOptions, 'dir'>) => join(dir, 'blobs', 'sha256')

function layerFiles(dataBytes: number[], architecture: ProgramArchitecture): LayerFile[][] {
  const program = staticProgram(architecture, PROGRAM_LINE)
  return dataBytes.map((bytes, index) => [
    ...(index === 0 ? [{ name: PROGRAM_PATH, mode: 0o755, content: program }] : []),
    { name: `data-${index + 1}`, mode: 0o644, content: { randomBytes: bytes } },
  ])
}

interface JsonBlob {
  digest: Digest
  size: number
}

function imageConfig(layers: Layer[], architecture: ProgramArchitecture): object {
  return {
    architecture,
    os: 'linux',
    created: '2024-01-01T00:00:00Z',
    config: { Entrypoint: [`/${PROGRAM_PATH}`] },
    rootfs: { type: 'layers', diff_ids: layers.map(({ diffId }) => diffId) },
    history: layers.map((_, index) => ({ created_by: `shoal lab, layer ${index + 1}` })),
  }
}

function imageManifest(config: JsonBlob, layers: Layer[], compression: Compression): object {
  return {
    schemaVersion: 2,
    mediaType: `${MEDIA}.manifest.v1+json`,
    config: { mediaType: `${MEDIA}.config.v1+json`, ...config },
    layers: layers.map(({ digest, bytes }) => ({
      mediaType: `${MEDIA}.layer.v1.tar+${compression === 'zstd' ? 'zstd' : 'gzip'}`,
      digest,
      size: bytes,
    })),
  }
}

/** What the layout's own index names: an image's manifest, or an index of several. */
function writeLayout(
  { dir, tag }: Pick<ImageOptions, 'dir' | 'tag'>,
  named: JsonBlob & { mediaType: string },
): void {
  const descriptor = {
    ...named,
    annotations: { 'org.opencontainers.image.ref.name': tag },
  }
  writeFileSync(join(dir, 'oci-layout'), JSON.stringify({ imageLayoutVersion: '1.0.0' }))
  writeFileSync(join(dir, 'index.json'), JSON.stringify({ schemaVersion: 2, manifests: [descriptor] }))
}

function writeJsonBlob(blobsDir: string, value: object): JsonBlob {
  const body = Buffer.from(JSON.stringify(value))
  const hex = createHash('sha256').update(body).digest('hex')
  writeFileSync(join(blobsDir, hex), body)
  return { digest: digestFromHex(hex), size: body.length }
}
