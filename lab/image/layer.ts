import { createCipheriv, createHash, randomBytes } from 'node:crypto'
import { createWriteStream } from 'node:fs'
import { rename } from 'node:fs/promises'
import { join } from 'node:path'
import { Readable, Transform, type TransformCallback } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { constants, createGzip, createZstdCompress } from 'node:zlib'
import { type Digest, digestFromHex } from '../../core/digest.ts'
import { TAR_END, tarHeader, tarPadding } from './tar.ts'

const CHUNK_BYTES = 1024 * 1024

/** A file in a layer: its contents, or this many incompressible bytes. */
export interface LayerFile {
  name: string
  mode: number
  content: Buffer | { randomBytes: number }
}

export type Compression =
  | 'zstd'
  /** 0 stores without compression: fast, and still a valid gzip stream. Incompressible data would not shrink. */
  | { gzipLevel: number }

export interface LayerOptions {
  files: LayerFile[]
  compression: Compression
  /** Blobs of the OCI layout: `<dir>/<hex>`. */
  blobsDir: string
}

export interface Layer {
  digest: Digest
  /** Size of the compressed blob, as registries and wires carry it. */
  bytes: number
  /** Digest of the uncompressed archive (OCI image-spec, "DiffID"). */
  diffId: Digest
}

/** Streams the layer into its place under its digest; holds a few MiB at most. */
export async function writeLayer({ files, compression, blobsDir }: LayerOptions): Promise<Layer> {
  const draft = join(blobsDir, `draft-${randomBytes(8).toString('hex')}`)
  const uncompressed = hashing()
  const compressed = hashing()
  await pipeline(
    Readable.from(archive(files)),
    uncompressed.stream,
    compressor(compression),
    compressed.stream,
    createWriteStream(draft),
  )
  const digest = compressed.digest()
  await rename(draft, join(blobsDir, digest.slice('sha256:'.length)))
  return { digest, bytes: compressed.bytes(), diffId: uncompressed.digest() }
}

function compressor(compression: Compression) {
  if (compression !== 'zstd') return createGzip({ level: compression.gzipLevel, chunkSize: CHUNK_BYTES })
  return createZstdCompress({ params: { [constants.ZSTD_c_compressionLevel]: 1 }, chunkSize: CHUNK_BYTES })
}

function* archive(files: LayerFile[]): Generator<Buffer> {
  for (const { name, mode, content } of files) {
    const bytes = Buffer.isBuffer(content) ? content.length : content.randomBytes
    yield tarHeader({ name, mode, bytes })
    if (Buffer.isBuffer(content)) yield content
    else yield* incompressible(content.randomBytes)
    yield tarPadding(bytes)
  }
  yield TAR_END
}

/** The key stream of a cipher with a random key: random enough, and faster than the disk. */
function* incompressible(bytes: number): Generator<Buffer> {
  const cipher = createCipheriv('aes-128-ctr', randomBytes(16), randomBytes(16))
  const zeros = Buffer.alloc(CHUNK_BYTES)
  for (let left = bytes; left > 0; left -= CHUNK_BYTES) {
    yield cipher.update(zeros.subarray(0, Math.min(left, CHUNK_BYTES)))
  }
}

function hashing() {
  const hash = createHash('sha256')
  let bytes = 0
  const stream = new Transform({
    transform(chunk: Buffer, _encoding, done: TransformCallback) {
      hash.update(chunk)
      bytes += chunk.length
      done(null, chunk)
    },
  })
  return { stream, bytes: () => bytes, digest: () => digestFromHex(hash.digest('hex')) }
}
