import { mkdirSync, writeFileSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { digestHex } from '../../core/digest.ts'
import type { CommandOptions } from '../machine/processes.ts'
import type { StartingLine } from '../machine/starting-line.ts'
import { digestOfFile } from './oci-layout.ts'
import {
  authFile,
  commandOf,
  environmentOf,
  type ImageReference,
  PULL_PATIENCE_MS,
  type Puller,
  type PullerOptions,
} from './puller.ts'

export interface SkopeoOptions extends PullerOptions {
  /** Each pull waits there until all expected ones have arrived. */
  line?: StartingLine
  /** The copy goes into memory and is freed when the command ends, so that no disk limits the measurement. */
  isDiscarded?: boolean
  /** Its folder on the host; two pulls at a time need two. */
  folder?: string
}

/** Mounts memory over the folder, in the command's own mount namespace. */
const INTO_MEMORY = ['sh', '-c', 'mount -t tmpfs -o mode=0700 tmpfs "$1" && shift && exec "$@"', 'sh']

/** `skopeo copy` into a directory. It keeps every blob as it was sent, and checks each against its digest. */
export function makeSkopeo(options: SkopeoOptions): Puller {
  const { host, processes, registryHost, line, isDiscarded, folder = 'skopeo' } = options
  const dir = join(host.dir, folder)
  const prefix = isDiscarded ? [...INTO_MEMORY, join(dir, 'memory')] : []
  const store = isDiscarded ? join(dir, 'memory', 'image') : join(dir, 'image')
  mkdirSync(join(dir, 'memory'), { recursive: true, mode: 0o700 })
  writeFileSync(join(dir, 'auth.json'), authFile(options), { mode: 0o600 })
  return {
    kind: 'skopeo',
    async pull({ name }) {
      await rm(store, { recursive: true, force: true })
      const certificates = join(host.etcDocker, 'certs.d', registryHost)
      const command: CommandOptions = {
        argv: commandOf(options, [
          ...(line?.waiting ?? []),
          ...prefix,
          ...['skopeo', '--insecure-policy', '--tmpdir', dir, 'copy', '--quiet'],
          ...['--src-authfile', join(dir, 'auth.json'), '--src-cert-dir', certificates],
          ...[`docker://${name}`, `dir:${store}`],
        ]),
        env: { ...environmentOf(options), HOME: dir },
        timeoutMs: options.patienceMs ?? PULL_PATIENCE_MS,
      }
      await (line === undefined ? processes.run(command) : line.run(processes, command))
    },
    verify: (image) => isStoredWhole(store, image),
    run: async () => undefined,
  }
}

async function isStoredWhole(store: string, image: ImageReference): Promise<boolean> {
  if ((await digestOfFile(join(store, 'manifest.json'))) !== image.manifestDigest) return false
  const blobs = [image.configDigest, ...image.layers.map(({ digest }) => digest)]
  const digests = await Promise.all(blobs.map((digest) => digestOfFile(join(store, digestHex(digest)))))
  return digests.every((digest, index) => digest === blobs[index])
}
