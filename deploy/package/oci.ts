import { createHash } from 'node:crypto'
import type { Architecture } from './architectures.ts'
import { PROGRAM_FOLDER } from './debian.ts'
import { gzipped, type Packed, PROGRAM_MODE, tarOf, textFile } from './files.ts'
import { sourceText } from './source.ts'

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
const NODE_FOLDER = 'var/lib/shoal'
/**
 * The guard is process 1. The node's settings come from the environment (SHOAL_NODE_…) or a file named there; only the
 * volume's place is fixed. Other commands take the place of `guard run …`.
 */
const RUN = {
  User: `${USER_ID}:${USER_ID}`,
  Env: ['PATH=/usr/bin', 'SHOAL_NODE_WRITES_DOCKER_CERTS=false', 'SHOAL_NODE_ATTACHED_DIR=none'],
  Entrypoint: ['/usr/bin/shoal'],
  Cmd: ['guard', 'run', '--control', `/${NODE_FOLDER}/guard.sock`, '--', '--data-dir', `/${NODE_FOLDER}`],
  /** Of the peers; proxy and admin listener are on loopback. */
  ExposedPorts: { '7071/tcp': {} },
  Volumes: { [`/${NODE_FOLDER}`]: {} },
  WorkingDir: '/',
}
/** Without a shell. */
const LAUNCHER = `#!/${PROGRAM_FOLDER}/bin/node\nimport '/${PROGRAM_FOLDER}/bin/shoal.js'\n`
/** A volume that is mounted there belongs to the user, too. A database may need a folder for large results. */
const FOLDERS = [
  { path: NODE_FOLDER, mode: 0o700, owner: USER_ID },
  { path: 'var/lib/shoal-tracker', mode: 0o700, owner: USER_ID },
  { path: 'tmp', mode: 0o1777, owner: 0 },
]

export function ociImage({ version, architecture, timeS, root }: ImageParts): Buffer {
  const launcher = textFile('usr/bin/shoal', LAUNCHER, PROGRAM_MODE)
  const tar = tarOf([...root, launcher, ...FOLDERS], { timeS })
  const created = new Date(timeS * 1000).toISOString()
  const labels = {
    'org.opencontainers.image.title': 'shoal',
    'org.opencontainers.image.description': (
      JSON.parse(sourceText('package.json')) as { description: string }
    ).description,
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
