import { createHash } from 'node:crypto'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'

/**
 * An image with one layer as an OCI layout (OCI image-spec, "Image Layout") in a new folder, tagged `v1`.
 * @param layer gzip: skopeo compresses what is not, and the digest would be another
 */
export function writeOciImage(folder: string, layer: Buffer): { layerDigest: string } {
  const blobs = join(folder, 'blobs', 'sha256')
  mkdirSync(blobs, { recursive: true })
  const put = (content: Buffer) => {
    const digest = digestOf(content)
    writeFileSync(join(blobs, digest.slice('sha256:'.length)), content)
    return { digest, size: content.length }
  }
  const putJson = (value: unknown) => put(Buffer.from(JSON.stringify(value)))
  const stored = put(layer)
  const type = (name: string) => `application/vnd.oci.image.${name}`
  const config = putJson({
    ...{ architecture: 'amd64', os: 'linux' },
    rootfs: { type: 'layers', diff_ids: [digestOf(gunzipSync(layer))] },
  })
  const manifest = putJson({
    schemaVersion: 2,
    mediaType: type('manifest.v1+json'),
    config: { mediaType: type('config.v1+json'), ...config },
    layers: [{ mediaType: type('layer.v1.tar+gzip'), ...stored }],
  })
  const annotations = { 'org.opencontainers.image.ref.name': 'v1' }
  const manifests = [{ mediaType: type('manifest.v1+json'), ...manifest, annotations }]
  writeFileSync(join(folder, 'index.json'), JSON.stringify({ schemaVersion: 2, manifests }))
  writeFileSync(join(folder, 'oci-layout'), JSON.stringify({ imageLayoutVersion: '1.0.0' }))
  return { layerDigest: stored.digest }
}

function digestOf(content: Buffer): string {
  return `sha256:${createHash('sha256').update(content).digest('hex')}`
}
