import { createHash } from 'node:crypto'
import { mkdirSync, readFileSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { type Digest, digestHex } from '../../core/digest.ts'
import {
  environmentOf,
  type ImageReference,
  PULL_PATIENCE_MS,
  type Puller,
  type PullerOptions,
} from './puller.ts'
import { writeTrustBundle } from './trust-bundle.ts'

export interface CurlOptions extends PullerOptions {
  folder: string
  /** Before `/v2/`. */
  prefix?: string
  /** Added to every request, for example `ns=docker.io` as containerd's mirrors get it. */
  query?: string
}

const MANIFEST_TYPES = [
  'application/vnd.docker.distribution.manifest.v2+json',
  'application/vnd.oci.image.manifest.v1+json',
].join(', ')

/** Asks for an open registry's manifest and blobs one by one, as a script would: for requests that no other client makes. */
export function makeCurl(options: CurlOptions): Puller & CurlFetch {
  const { host, processes, registryHost } = options
  const dir = join(host.dir, options.folder)
  mkdirSync(dir, { recursive: true, mode: 0o700 })
  const curl = async (path: string, file: string, argv: string[] = []) => {
    const query = options.query === undefined ? '' : `?${options.query}`
    await processes.run({
      argv: host.command([
        ...[
          'curl',
          '--silent',
          '--show-error',
          '--fail',
          '--location',
          '--cacert',
          writeTrustBundle(options, dir),
        ],
        ...['--output', join(dir, file), ...argv],
        `https://${registryHost}${options.prefix ?? ''}/v2/${path}${query}`,
      ]),
      env: { ...environmentOf(options), HOME: dir },
      timeoutMs: options.patienceMs ?? PULL_PATIENCE_MS,
    })
    return readFileSync(join(dir, file))
  }
  const repositoryOf = ({ name, tag }: ImageReference) =>
    name.slice(registryHost.length + 1, name.length - tag.length - 1)
  const manifest = (image: ImageReference) =>
    curl(`${repositoryOf(image)}/manifests/${image.tag}`, 'manifest', [
      '--header',
      `Accept: ${MANIFEST_TYPES}`,
    ])
  return {
    kind: 'curl',
    manifest,
    range: (image, digest, range) =>
      curl(`${repositoryOf(image)}/blobs/${digest}`, 'range', ['--range', range]),
    async pull(image) {
      await manifest(image)
      for (const digest of blobsOf(image)) {
        await curl(`${repositoryOf(image)}/blobs/${digest}`, digestHex(digest))
      }
    },
    async verify(image) {
      const right = blobsOf(image).every((digest) => isContentOf(digest, join(dir, digestHex(digest))))
      const isRight = right && isContentOf(image.manifestDigest, join(dir, 'manifest'))
      await rm(dir, { recursive: true })
      mkdirSync(dir, { mode: 0o700 })
      return isRight
    },
    run: async () => undefined,
  }
}

export interface CurlFetch {
  manifest(image: ImageReference): Promise<Buffer>
  /** @param range as in RFC 9110, without the unit */
  range(image: ImageReference, digest: Digest, range: string): Promise<Buffer>
}

function blobsOf(image: ImageReference): Digest[] {
  return [image.configDigest, ...image.layers.map(({ digest }) => digest)]
}

/** The digest may have another algorithm than SHA-256: curl takes whatever it asks for. */
function isContentOf(digest: string, path: string): boolean {
  const algorithm = digest.slice(0, digest.indexOf(':'))
  return `${algorithm}:${createHash(algorithm).update(readFileSync(path)).digest('hex')}` === digest
}
