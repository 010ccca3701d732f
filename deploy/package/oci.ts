import { createHash } from 'node:crypto'
import type { Architecture } from './architectures.ts'
import { gzipped, type Packed, tarOf, textFile } from './files.ts'

/**
 * An image in the layout of the OCI image specification (image-layout.md), as one archive, for `docker load`, `podman load`
 * and `skopeo copy oci-archive:`. It has one layer: the program and the libraries that Node is linked with.
 */

export interface ImageParts {
  version: string
  architecture: Architecture
  timeS: number
  /** All files of the image. */
  root: Packed[]
}

const LAYER_TYPE = 'application/vnd.oci.image.layer.v1.tar+gzip'
const CONFIG_TYPE = 'application/vnd.oci.image.config.v1+json'
const MANIFEST_TYPE = 'application/vnd.oci.image.manifest.v1+json'
const INDEX_TYPE = 'application/vnd.oci.image.index.v1+json'

/** In the image no user exists by name; volumes must belong to this one. */
const USER_ID = 65_532
/** The guard is process 1. The node's settings come from the environment (SHOAL_NODE_…) or a file named there. */
const RUN = {
  User: `${USER_ID}:${USER_ID}`,
  Env: ['PATH=/usr/bin', 'SHOAL_NODE_WRITES_DOCKER_CERTS=false', 'SHOAL_NODE_ATTACHED_DIR=none'],
  Entrypoint: ['/usr/lib/shoal/bin/node', '/usr/lib/shoal/bin/shoal.js'],
  Cmd: ['guard', 'run', '--control', '/var/lib/shoal/guard.sock', '--', '--log-level', 'info'],
  Volumes: { '/var/lib/shoal': {} },
  WorkingDir: '/',
}

export function ociImage({ version, architecture, timeS, root }: ImageParts): Buffer {
  const dataFolder = { path: 'var/lib/shoal', mode: 0o700, owner: USER_ID }
  const tar = tarOf([...root, dataFolder], { timeS })
  const created = new Date(timeS * 1000).toISOString()
  const labels = {
    'org.opencontainers.image.title': 'shoal',
    'org.opencontainers.image.version': version,
    'org.opencontainers.image.licenses': 'Apache-2.0',
    'org.opencontainers.image.created': created,
  }
  const layer = blobOf(gzipped(tar), LAYER_TYPE)
  const config = jsonBlob(CONFIG_TYPE, {
    created,
    architecture,
    os: 'linux',
    config: { ...RUN, Labels: labels },
    rootfs: { type: 'layers', diff_ids: [digestOf(tar)] },
    history: [{ created, created_by: 'npm run package' }],
  })
  const manifest = jsonBlob(MANIFEST_TYPE, {
    schemaVersion: 2,
    mediaType: MANIFEST_TYPE,
    config: config.descriptor,
    layers: [layer.descriptor],
    annotations: labels,
  })
  const index = {
    schemaVersion: 2,
    mediaType: INDEX_TYPE,
    manifests: [
      {
        ...manifest.descriptor,
        platform: { os: 'linux', architecture },
        annotations: {
          'org.opencontainers.image.ref.name': version,
          'io.containerd.image.name': `localhost/shoal:${version}`,
        },
      },
    ],
  }
  // Docker before 25 reads no layout, but this list beside it.
  const dockerList = [
    { Config: config.file.path, RepoTags: [`localhost/shoal:${version}`], Layers: [layer.file.path] },
  ]
  const files = [
    textFile('oci-layout', JSON.stringify({ imageLayoutVersion: '1.0.0' })),
    textFile('index.json', JSON.stringify(index)),
    textFile('manifest.json', JSON.stringify(dockerList)),
    ...[config, manifest, layer].map(({ file }) => file),
  ]
  return tarOf(files, { timeS })
}

function jsonBlob(mediaType: string, content: object) {
  return blobOf(Buffer.from(JSON.stringify(content)), mediaType)
}

function blobOf(bytes: Buffer, mediaType: string) {
  const digest = digestOf(bytes)
  const file = { path: `blobs/${digest.replace(':', '/')}`, mode: 0o644, bytes }
  return { file, descriptor: { mediaType, digest, size: bytes.length } }
}

function digestOf(bytes: Buffer): string {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`
}
