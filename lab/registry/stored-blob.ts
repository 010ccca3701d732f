import { join } from 'node:path'
import { type Digest, digestHex } from '../../core/digest.ts'

/** The file in which Distribution keeps a blob, under its `rootdirectory`. */
export function storedBlobFile(storageDir: string, digest: Digest): string {
  const hex = digestHex(digest)
  return join(storageDir, 'docker', 'registry', 'v2', 'blobs', 'sha256', hex.slice(0, 2), hex, 'data')
}
