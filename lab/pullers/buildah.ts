import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import {
  authFile,
  commandOf,
  environmentOf,
  type ImageReference,
  PULL_PATIENCE_MS,
  type Puller,
  type PullerOptions,
} from './puller.ts'

const COMMAND_PATIENCE_MS = 60_000

/** Buildah with the host's own store. */
export function makeBuildah(options: PullerOptions & { folder: string }): Puller {
  const { host, processes, registryHost } = options
  const dir = join(host.dir, options.folder)
  mkdirSync(join(dir, 'tmp'), { recursive: true, mode: 0o700 })
  writeFileSync(join(dir, 'auth.json'), authFile(options), { mode: 0o600 })
  const store = ['--root', join(dir, 'root'), '--runroot', join(dir, 'runroot'), '--storage-driver', 'vfs']
  const buildah = (argv: string[], timeoutMs = COMMAND_PATIENCE_MS) =>
    processes.run({
      argv: commandOf(options, ['buildah', ...store, ...argv]),
      env: { ...environmentOf(options), HOME: dir, TMPDIR: join(dir, 'tmp') },
      timeoutMs,
    })
  return {
    kind: 'buildah',
    async pull({ name }) {
      const certificates = join(host.etcDocker, 'certs.d', registryHost)
      const trust = ['--authfile', join(dir, 'auth.json'), '--cert-dir', certificates]
      await buildah(['pull', '--quiet', ...trust, name], options.patienceMs ?? PULL_PATIENCE_MS)
    },
    async verify({ name, configDigest, manifestDigest }: ImageReference) {
      const image = JSON.parse(await buildah(['inspect', '--type', 'image', name])) as Record<string, string>
      return `sha256:${image.FromImageID}` === configDigest && image.FromImageDigest === manifestDigest
    },
    run: async () => undefined,
  }
}
