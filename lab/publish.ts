import { writeFileSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { makeImage } from './image/image.ts'
import type { LabHost } from './machine/network.ts'
import type { LabRun } from './machine/run.ts'
import { authFile, type ImageReference } from './pullers/puller.ts'
import type { LabRegistry } from './registry/registry.ts'

const PUSH_PATIENCE_MS = 5 * 60_000

export interface PublishOptions {
  run: LabRun
  registry: LabRegistry
  registryHost: LabHost
  tag: string
  /** Data of each layer in bytes. */
  layerDataBytes: number[]
}

/** Makes an image and pushes it from the registry's own host, so that the registry's link carries none of it. */
export async function publishImage(options: PublishOptions): Promise<ImageReference> {
  const { run, registry, registryHost, tag, layerDataBytes } = options
  const dir = join(run.dir, `image-${tag}`)
  const image = await makeImage({ dir, layerDataBytes, tag })
  const name = `${registry.host}/${registry.repository}:${tag}`
  const auth = join(registryHost.dir, 'publisher.json')
  const account = registry.isOpen ? undefined : registry.publisher
  writeFileSync(auth, authFile({ registryHost: registry.host, account }), { mode: 0o600 })
  await run.processes.run({
    argv: registryHost.command([
      ...['skopeo', '--insecure-policy', '--tmpdir', registryHost.dir],
      ...['copy', '--quiet', '--preserve-digests'],
      ...['--dest-authfile', auth, '--dest-cert-dir', join(registryHost.etcDocker, 'certs.d', registry.host)],
      ...[`oci:${dir}:${tag}`, `docker://${name}`],
    ]),
    env: { HOME: registryHost.dir },
    timeoutMs: PUSH_PATIENCE_MS,
  })
  await rm(dir, { recursive: true })
  return { ...image, name }
}
