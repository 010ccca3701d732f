import { createHash } from 'node:crypto'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type Digest, digestFromHex } from '../../core/digest.ts'
import { type Layer, type LayerFile, writeLayer } from './layer.ts'
import { architectureOfThisMachine, staticProgram } from './static-program.ts'

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
  gzipLevel?: number
}

export interface LabImage {
  readonly dir: string
  readonly tag: string
  readonly manifestDigest: Digest
  readonly configDigest: Digest
  readonly layers: readonly Layer[]
}

export async function makeImage(options: ImageOptions): Promise<LabImage> {
  const blobsDir = join(options.dir, 'blobs', 'sha256')
  mkdirSync(blobsDir, { recursive: true })
  const layers: Layer[] = []
  for (const files of layerFiles(options.layerDataBytes)) {
    layers.push(await writeLayer({ files, gzipLevel: options.gzipLevel ?? 0, blobsDir }))
  }
  const config = writeJsonBlob(blobsDir, imageConfig(layers))
  const manifest = writeJsonBlob(blobsDir, imageManifest(config, layers))
  writeIndex(options, manifest)
  return {
    dir: options.dir,
    tag: options.tag,
    manifestDigest: manifest.digest,
    configDigest: config.digest,
    layers,
  }
}

function layerFiles(dataBytes: number[]): LayerFile[][] {
  const program = staticProgram(architectureOfThisMachine(), PROGRAM_LINE)
  return dataBytes.map((bytes, index) => [
    ...(index === 0 ? [{ name: PROGRAM_PATH, mode: 0o755, content: program }] : []),
    { name: `data-${index + 1}`, mode: 0o644, content: { randomBytes: bytes } },
  ])
}

interface JsonBlob {
  digest: Digest
  size: number
}

function imageConfig(layers: Layer[]): object {
  return {
    architecture: architectureOfThisMachine(),
    os: 'linux',
    created: '2024-01-01T00:00:00Z',
    config: { Entrypoint: [`/${PROGRAM_PATH}`] },
    rootfs: { type: 'layers', diff_ids: layers.map(({ diffId }) => diffId) },
    history: layers.map((_, index) => ({ created_by: `shoal lab, layer ${index + 1}` })),
  }
}

function imageManifest(config: JsonBlob, layers: Layer[]): object {
  return {
    schemaVersion: 2,
    mediaType: `${MEDIA}.manifest.v1+json`,
    config: { mediaType: `${MEDIA}.config.v1+json`, ...config },
    layers: layers.map(({ digest, bytes }) => ({
      mediaType: `${MEDIA}.layer.v1.tar+gzip`,
      digest,
      size: bytes,
    })),
  }
}

function writeIndex({ dir, tag }: ImageOptions, manifest: JsonBlob): void {
  const descriptor = {
    mediaType: `${MEDIA}.manifest.v1+json`,
    ...manifest,
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
