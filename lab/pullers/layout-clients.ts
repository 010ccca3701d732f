import { mkdirSync, writeFileSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { isLayoutWhole } from './oci-layout.ts'
import {
  authFile,
  commandOf,
  environmentOf,
  PULL_PATIENCE_MS,
  type Puller,
  type PullerOptions,
} from './puller.ts'
import { writeTrustBundle } from './trust-bundle.ts'

/** Clients that copy an image into an OCI layout, and read authorities from one file. */

interface LayoutClient {
  kind: 'crane' | 'oras'
  argv(name: string, files: { layout: string; trust: string; auth: string }): string[]
  env(files: { dir: string; trust: string }): Record<string, string>
}

export function makeCrane(options: PullerOptions & { folder: string }): Puller {
  return makeLayoutClient(options, {
    kind: 'crane',
    argv: (name, { layout }) => ['crane', 'pull', '--format', 'oci', name, layout],
    env: ({ dir, trust }) => ({ DOCKER_CONFIG: dir, SSL_CERT_FILE: trust }),
  })
}

export function makeOras(options: PullerOptions & { folder: string }): Puller {
  return makeLayoutClient(options, {
    kind: 'oras',
    argv: (name, { layout, trust, auth }) => [
      ...['oras', 'copy', '--from-ca-file', trust, '--from-registry-config', auth],
      ...['--to-oci-layout', name, `${layout}:copied`],
    ],
    env: () => ({}),
  })
}

function makeLayoutClient(options: PullerOptions & { folder: string }, client: LayoutClient): Puller {
  const dir = join(options.host.dir, options.folder)
  const layout = join(dir, 'layout')
  const auth = join(dir, 'config.json')
  mkdirSync(dir, { recursive: true, mode: 0o700 })
  writeFileSync(auth, authFile(options), { mode: 0o600 })
  return {
    kind: client.kind,
    async pull({ name }) {
      await rm(layout, { recursive: true, force: true })
      const trust = writeTrustBundle(options, dir)
      await options.processes.run({
        argv: commandOf(options, client.argv(name, { layout, trust, auth })),
        env: { ...environmentOf(options), HOME: dir, ...client.env({ dir, trust }) },
        timeoutMs: options.patienceMs ?? PULL_PATIENCE_MS,
      })
    },
    verify: (image) => isLayoutWhole(layout, image),
    run: async () => undefined,
  }
}
