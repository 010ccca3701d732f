import { writeFileSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { type LabImage, makeImage, makeImageIndex } from './image/image.ts'
import type { Compression } from './image/layer.ts'
import type { ProgramArchitecture } from './image/static-program.ts'
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
  compression?: Compression
}

/** Makes an image and pushes it from the registry's own host, so that the registry's link carries none of it. */
export async function publishImage(options: PublishOptions): Promise<ImageReference> {
  return push(options, async ({ name, ...files }) => ({ ...(await makeImage(files)), name }))
}

/** The same for an index. @returns its image of each architecture, under the index's name */
export async function publishIndex(
  options: PublishOptions,
): Promise<Record<ProgramArchitecture, ImageReference>> {
  return push(options, async ({ name, ...files }) => {
    const { images } = await makeImageIndex(files)
    const named = (image: LabImage) => ({ ...image, name })
    return { amd64: named(images.amd64), arm64: named(images.arm64) }
  })
}

type Layout = Pick<PublishOptions, 'layerDataBytes' | 'tag' | 'compression'> & { dir: string; name: string }

async function push<Made>(options: PublishOptions, make: (layout: Layout) => Promise<Made>): Promise<Made> {
  const { run, registry, registryHost, tag, layerDataBytes, compression } = options
  const dir = join(run.dir, `image-${tag}`)
  const name = `${registry.host}/${registry.repository}:${tag}`
  const made = await make({ dir, name, layerDataBytes, tag, ...(compression && { compression }) })
  const auth = join(registryHost.dir, 'publisher.json')
  const account = registry.isOpen ? undefined : registry.publisher
  writeFileSync(auth, authFile({ registryHost: registry.host, account }), { mode: 0o600 })
  await run.processes.run({
    argv: registryHost.command([
      ...['skopeo', '--insecure-policy', '--tmpdir', registryHost.dir],
      ...['copy', '--quiet', '--all', '--preserve-digests'],
      ...['--dest-authfile', auth, '--dest-cert-dir', join(registryHost.etcDocker, 'certs.d', registry.host)],
      ...[`oci:${dir}:${tag}`, `docker://${name}`],
    ]),
    env: { HOME: registryHost.dir },
    timeoutMs: PUSH_PATIENCE_MS,
  })
  await rm(dir, { recursive: true })
  return made
}
