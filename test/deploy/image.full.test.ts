import { execFileSync } from 'node:child_process'
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { mustSkipFor } from '../../lab/machine/requirements.ts'
import manifest from '../../package.json' with { type: 'json' }
import { ARCHITECTURE, buildPackages, TIME_S, unpack } from './built-package.ts'

const BUILD_MS_MAX = 10 * 60_000
const nameOf = (architecture: string) => `shoal-${manifest.version}-linux-${architecture}.oci.tar`

let folder: string
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'shoal-image-'))
  const places = { checkout: join(folder, 'checkout'), out: folder }
  await buildPackages({ ...places, umask: '077', timeZone: 'UTC', flags: ['--arch', 'amd64,arm64'] })
}, BUILD_MS_MAX)
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const run = (program: string, ...argv: string[]) => execFileSync(program, argv, { encoding: 'utf8' })

/** The image's files, by its own index, manifest and layer. */
function rootOf(architecture: string): string {
  const layout = unpack(join(folder, nameOf(architecture)), join(folder, `layout-${architecture}`), 0)
  const blob = (digest: string) => join(layout, 'blobs', digest.replace(':', '/'))
  const read = (path: string) => JSON.parse(readFileSync(path, 'utf8'))
  const { manifests } = read(join(layout, 'index.json'))
  const { layers } = read(blob(manifests[0].digest))
  return unpack(blob(layers[0].digest), join(folder, `root-${architecture}`), 0)
}

describe.skipIf(mustSkipFor(['root', 'skopeo', 'podman', 'qemu-aarch64-static']))('the image', () => {
  it.each(['amd64', 'arm64'])(
    'for %s is what skopeo and podman take',
    (architecture) => {
      const archive = `oci-archive:${join(folder, nameOf(architecture))}`
      const found = JSON.parse(run('skopeo', 'inspect', '--override-arch', architecture, archive))
      expect(found).toMatchObject({ Architecture: architecture, Os: 'linux' })
      expect(Date.parse(found.Created)).toBe(TIME_S * 1000)
      // Copies verify every digest.
      const copy = `oci:${join(folder, `copy-${architecture}`)}`
      run('skopeo', '--override-arch', architecture, 'copy', '--quiet', archive, copy)
      const storage = [
        '--root',
        join(folder, `storage-${architecture}`),
        '--runroot',
        join(folder, 'run'),
        '--storage-driver',
        'vfs',
      ]
      expect(
        run('podman', ...storage, 'load', '--quiet', '--input', join(folder, nameOf(architecture))),
      ).toContain('shoal')
    },
    BUILD_MS_MAX,
  )

  it('has all that its program needs', () => {
    const root = rootOf(ARCHITECTURE)
    const program = ['/usr/lib/shoal/bin/node', '/usr/lib/shoal/bin/shoal.js']
    expect(run('chroot', root, ...program, '--version')).toBe(`shoal ${manifest.version}\n`)
    expect(run('chroot', root, ...program, 'guard', 'run', '--help')).toContain('--control')
  })

  it(
    'for arm64 runs on an emulated processor',
    () => {
      const root = rootOf('arm64')
      mkdirSync(join(root, 'emulator'))
      copyFileSync(run('which', 'qemu-aarch64-static').trim(), join(root, 'emulator/qemu'))
      const program = ['/emulator/qemu', '/usr/lib/shoal/bin/node', '/usr/lib/shoal/bin/shoal.js']
      expect(run('chroot', root, ...program, '--version')).toBe(`shoal ${manifest.version}\n`)
    },
    BUILD_MS_MAX,
  )
})
