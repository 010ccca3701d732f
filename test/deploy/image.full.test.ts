import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { NodeStatus } from '../../cli/node-status.ts'
import { requirementsFor, startLab } from '../../lab/cluster.ts'
import { LabPartEndedError } from '../../lab/errors.ts'
import type { Lab } from '../../lab/lab.ts'
import { remainsOf } from '../../lab/machine/leftovers.ts'
import { waitFor } from '../../lab/machine/processes.ts'
import { type LabRequirement, mustSkipFor } from '../../lab/machine/requirements.ts'
import { makeCurl } from '../../lab/pullers/curl.ts'
import type { ImageReference } from '../../lab/pullers/puller.ts'
import { NODE_PROXY_URL, TRACKER_HOST } from '../../lab/shoal.ts'
import manifest from '../../package.json' with { type: 'json' }
import { ARCHITECTURE, buildPackages, TIME_S, unpack } from './built-package.ts'
import { type ContainerEngine, ENGINES, startEngine } from './container-engines.ts'
import { sbomFaults } from './cyclonedx.ts'

/** The image as people have it: read by other programs, and run by podman and Docker in a cluster. */

const BUILD_MS_MAX = 10 * 60_000
/** Until an emulated node listens. */
const EMULATED_MS_MAX = 120_000
const IMAGE = `localhost/shoal:${manifest.version}`
const nameOf = (architecture: string) => `shoal-${manifest.version}-linux-${architecture}.oci.tar`

let folder: string
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'shoal-image-'))
  const places = { checkout: join(folder, 'checkout'), out: folder }
  await buildPackages({ ...places, umask: '077', timeZone: 'UTC', flags: ['--arch', 'amd64,arm64'] })
}, BUILD_MS_MAX)
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const run = (program: string, ...argv: string[]) => execFileSync(program, argv, { encoding: 'utf8' })
const read = (path: string) => JSON.parse(readFileSync(path, 'utf8'))

interface Opened {
  config: { config: Record<string, unknown> & { Labels: Record<string, string> } }
  /** Folder with the image's files. */
  root: string
}

/** The image, by its own index, manifest and layer. */
function open(architecture: string): Opened {
  const layout = unpack(join(folder, nameOf(architecture)), join(folder, `layout-${architecture}`), 0)
  const blob = (digest: string) => join(layout, 'blobs', digest.replace(':', '/'))
  const { manifests } = read(join(layout, 'index.json'))
  const { config, layers } = read(blob(manifests[0].digest))
  expect(layers).toHaveLength(1)
  const root = unpack(blob(layers[0].digest), join(folder, `root-${architecture}`), 0)
  return { config: read(blob(config.digest)), root }
}

describe.skipIf(mustSkipFor(['root', 'skopeo', 'qemu-aarch64-static']))('the image', () => {
  it.each(['amd64', 'arm64'])(
    'for %s is what skopeo takes',
    (architecture) => {
      const archive = `oci-archive:${join(folder, nameOf(architecture))}`
      const found = JSON.parse(run('skopeo', 'inspect', '--override-arch', architecture, archive))
      expect(found).toMatchObject({ Architecture: architecture, Os: 'linux' })
      expect(Date.parse(found.Created)).toBe(TIME_S * 1000)
      // Copies verify every digest.
      const copy = `oci:${join(folder, `copy-${architecture}`)}`
      run('skopeo', '--override-arch', architecture, 'copy', '--quiet', archive, copy)
    },
    BUILD_MS_MAX,
  )

  it('says what it is, and runs the guard as a user without rights', () => {
    const { config } = open(ARCHITECTURE).config
    expect(config).toMatchObject({
      User: '65532:65532',
      Entrypoint: ['/usr/bin/shoal'],
      Volumes: { '/var/lib/shoal': {} },
      ExposedPorts: { '7071/tcp': {} },
      Labels: {
        'org.opencontainers.image.title': 'shoal',
        'org.opencontainers.image.description': manifest.description,
        'org.opencontainers.image.version': manifest.version,
        'org.opencontainers.image.licenses': 'Apache-2.0',
      },
    })
  })

  it('has all that its program needs', () => {
    const { root } = open(ARCHITECTURE)
    expect(run('chroot', root, '/usr/bin/shoal', '--version')).toBe(`shoal ${manifest.version}\n`)
    expect(run('chroot', root, '/usr/bin/shoal', 'guard', 'run', '--help')).toContain('--control')
  })

  it.each(['amd64', 'arm64'])('for %s names all that is in it, with its licences', (architecture) => {
    const papers = join(open(architecture).root, 'usr/share/doc/shoal')
    const sbom = read(join(papers, 'sbom.cdx.json')) as { components: { name: string; purl: string }[] }
    expect(sbomFaults(sbom)).toEqual([])
    const libraries = ['ca-certificates', 'gcc-14-base', 'libc6', 'libgcc-s1', 'libstdc++6']
    const ofDebian = sbom.components.filter(({ purl }) => purl.startsWith('pkg:deb/'))
    expect(ofDebian.map(({ name }) => name).sort()).toEqual(libraries)
    for (const { purl } of ofDebian) expect(purl).toContain(`?arch=${architecture}`)
    const text = readFileSync(join(papers, 'THIRD-PARTY-LICENCES.txt'), 'utf8')
    for (const name of [...libraries, 'Node.js', 'fastify']) expect(text).toContain(`\n${name} `)
    for (const title of ['GNU GENERAL PUBLIC LICENSE', 'GNU LESSER GENERAL PUBLIC LICENSE'])
      expect(text).toContain(title)
  })

  it(
    'for arm64 runs on an emulated processor',
    async () => {
      const { root } = open('arm64')
      mkdirSync(join(root, 'emulator'))
      copyFileSync(run('which', 'qemu-aarch64-static').trim(), join(root, 'emulator/qemu'))
      const program = ['/emulator/qemu', '/usr/lib/shoal/bin/node', '/usr/lib/shoal/bin/shoal.js']
      const shoal = (...argv: string[]) => run('chroot', root, ...program, ...argv)
      expect(shoal('--version')).toBe(`shoal ${manifest.version}\n`)
      shoal('certs', 'authority', '--out-dir', '/tmp')
      expect(shoal('certs', 'inspect', '/tmp/authority.crt')).toMatch(/authority/i)

      const ports = ['proxy', 'peer', 'admin'].flatMap((name) => [`--${name}-listen`, '127.0.0.1:0'])
      // Set, so that the node does not start itself anew: only this one program is emulated.
      const env = { ...process.env, MALLOC_ARENA_MAX: '2' }
      const command = [...program, 'node', ...ports, '--docker-certs-dir', 'none']
      // As in the image: the data folder is that user's, and no other's node takes it.
      const node = spawn('chroot', ['--userspec=65532:65532', root, ...command], { env })
      let log = ''
      node.stderr.on('data', (chunk) => {
        log += chunk
      })
      const ended = once(node, 'close')
      const isRunning = async () => {
        if (node.exitCode !== null) throw new LabPartEndedError(log)
        return log.includes('the node runs') || undefined
      }
      await waitFor('the node', EMULATED_MS_MAX, isRunning).finally(() => node.kill('SIGTERM'))
      expect(await ended, log).toEqual([0, null])
    },
    BUILD_MS_MAX,
  )
})

const PARTS: LabRequirement[] = [...requirementsFor(['skopeo', 'podman', 'docker']), 'curl', 'tc']
const LAYER_BYTES = 8_000_000
/** The layer of a pull that is interrupted takes four seconds. */
const SLOW_BITS_PER_SECOND = 16_000_000
const FLOWING_BYTES = 1_000_000
const PATIENCE_MS = 30_000
const STOP_SECONDS = '40'

describe.skipIf(mustSkipFor(PARTS))('in a cluster', () => {
  let lab: Lab
  beforeAll(async () => {
    lab = await startLab({
      nodes: [{ name: 'other', puller: 'skopeo' }],
      layerDataBytes: [1000],
      authentication: 'none',
      trackerConfig: { advertise: [`${TRACKER_HOST}:7443`] },
    })
  }, BUILD_MS_MAX)
  afterAll(async () => {
    await lab?.close()
    if (lab) expect(remainsOf(lab.run.id)).toEqual([])
  })

  const joinString = () => {
    const dataDir = join(lab.tracker!.host.dir, 'tracker', 'data')
    const shoal = [process.execPath, 'bin/shoal.js', 'admin', 'token', 'create']
    const argv = lab.tracker!.host.command([...shoal, '--quiet', '--data-dir', dataDir])
    return lab.run.processes.run({ argv, timeoutMs: PATIENCE_MS })
  }

  /** As an operator does: join, then start, with settings in the environment. */
  async function startNode({ host, run }: ContainerEngine) {
    const caFile = join(host.dir, 'registry-ca.crt')
    writeFileSync(caFile, readFileSync(join(lab.run.dir, 'registry-ca.pem')), { mode: 0o644 })
    await run(['load', '--quiet', '--input', join(folder, nameOf(ARCHITECTURE))])
    const common = ['--network', 'host', '--volume', 'shoal:/var/lib/shoal']
    await run(['run', '--rm', '--interactive', ...common, IMAGE, 'join', '-'], await joinString())
    const registries = [{ host: lab.registry.host, kind: 'none', caFile: '/registry-ca.crt' }]
    const env = { REGISTRIES: JSON.stringify(registries), LOG_LEVEL: 'warn' }
    await run([
      ...['run', '--detach', '--name', 'shoal', '--read-only', '--cap-drop', 'ALL', ...common],
      ...['--volume', `${caFile}:/registry-ca.crt:ro`],
      ...Object.entries(env).flatMap(([name, value]) => ['--env', `SHOAL_NODE_${name}=${value}`]),
      IMAGE,
    ])
    await run(['exec', 'shoal', 'shoal', 'wait', 'ready', '--timeout', '30'])
  }

  const trust = async ({ host, run }: ContainerEngine) => {
    const certificates = join(host.etcDocker, 'certs.d', lab.registry.host)
    mkdirSync(certificates, { recursive: true })
    const volume = (await run(['volume', 'inspect', '--format', '{{.Mountpoint}}', 'shoal'])).trim()
    copyFileSync(join(volume, 'proxy-ca.crt'), join(certificates, 'shoal.crt'))
  }

  it.each(ENGINES)(
    'run by %s it joins, shares, answers while its node is down, and finishes what it serves',
    async (name) => {
      const engine = await startEngine(name, lab)
      const { host, run } = engine
      await startNode(engine)
      await trust(engine)
      const curl = makeCurl({
        ...{ host, processes: lab.run.processes, registryHost: lab.registry.host, folder: 'curl' },
        ...{ account: undefined, proxyUrl: NODE_PROXY_URL, cgroupParent: '' },
      })
      const pulled = async (image: ImageReference) => {
        await curl.pull(image)
        expect(await curl.verify(image)).toBe(true)
      }
      const layerOf = ({ layers: [layer] }: ImageReference) => layer!.digest
      const shoal = (...argv: string[]) => run(['exec', 'shoal', 'shoal', ...argv])
      const status = async () =>
        JSON.parse(await shoal('guard', 'status', '--control', '/var/lib/shoal/guard.sock')) as {
          node: string
          nodePid: number
        }

      const shared = await lab.publish(`${name}-shared`, [LAYER_BYTES])
      await lab.node('other').puller.pull(shared)
      await pulled(shared)
      const { totals } = JSON.parse(await shoal('status', '--json')) as NodeStatus
      expect(totals.sinceStart.peers).toBeGreaterThan(0.9 * LAYER_BYTES)

      const { nodePid } = await status()
      await run(['exec', 'shoal', '/usr/lib/shoal/bin/node', '-e', `process.kill(${nodePid}, 'SIGKILL')`])
      // Its authority is gone, and the next one's is not trusted yet: the relay's tunnel needs none of them.
      const caFile = ['--cacert', join(lab.run.dir, 'registry-ca.pem')]
      const url = `https://${lab.registry.host}/v2/`
      const answered = await lab.run.processes.run({
        argv: host.command([
          'curl',
          '--silent',
          '--max-time',
          '20',
          '--proxy',
          NODE_PROXY_URL,
          ...caFile,
          url,
        ]),
        timeoutMs: PATIENCE_MS,
      })
      expect(answered).toBe('{}')
      await waitFor('the next node', PATIENCE_MS, async () => {
        const { node, nodePid: next } = await status()
        return node === 'serving' && next !== nodePid ? true : undefined
      })
      await trust(engine)
      await pulled(await lab.publish(`${name}-killed`, [LAYER_BYTES]))

      const slow = await lab.publish(`${name}-slow`, [LAYER_BYTES])
      await lab.run.network.shape(host, SLOW_BITS_PER_SECOND)
      const { receivedBytes: before } = await lab.run.network.traffic(host)
      const pulling = curl.range(slow, layerOf(slow), '0-')
      await waitFor('bytes', PATIENCE_MS, async () => {
        const { receivedBytes } = await lab.run.network.traffic(host)
        return receivedBytes > before + FLOWING_BYTES ? true : undefined
      })
      const stopping = run(['stop', '--time', STOP_SECONDS, 'shoal'])
      expect((await pulling).length).toBe(slow.layers[0]!.bytes)
      await stopping
      expect((await run(['inspect', '--format', '{{.State.ExitCode}}', 'shoal'])).trim()).toBe('0')
      await run(['rm', 'shoal'])
    },
    BUILD_MS_MAX,
  )
})
