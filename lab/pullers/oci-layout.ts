import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { type Digest, digestFromHex, digestHex } from '../../core/digest.ts'
import type { LabImage } from '../image/image.ts'
import { packedDigests } from './puller.ts'

/** Hashes the image's files in an OCI image layout (image-spec, "Image Layout"). */
export async function isLayoutWhole(layout: string, image: LabImage): Promise<boolean> {
  const wanted = [image.manifestDigest, ...packedDigests(image)]
  const pathOf = (digest: Digest) => join(layout, 'blobs', 'sha256', digestHex(digest))
  const digests = await Promise.all(wanted.map((digest) => digestOfFile(pathOf(digest))))
  return digests.every((digest, index) => digest === wanted[index])
}

/** @returns undefined when there is no such file */
export async function digestOfFile(path: string): Promise<Digest | undefined> {
  const hash = createHash('sha256')
  try {
    await pipeline(createReadStream(path), hash)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
  return digestFromHex(hash.digest('hex'))
}
