import { randomBytes } from 'node:crypto'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { COPIES_MAX, PEER_SHARE_MIN } from '../../bench/runtimes/report.ts'
import { requirementsFor } from '../../lab/cluster.ts'
import type { Lab } from '../../lab/lab.ts'
import { remainsOf } from '../../lab/machine/leftovers.ts'
import { waitFor } from '../../lab/machine/processes.ts'
import { mustSkipFor } from '../../lab/machine/requirements.ts'
import { mustSkipForParts, requireFetched } from '../../lab/parts/parts.ts'
import type { Suite } from '../../lab/parts/suites.ts'
import { publishIndex } from '../../lab/publish.ts'
import type { Docker } from '../../lab/pullers/docker.ts'
import type { ImageReference } from '../../lab/pullers/puller.ts'
import { startRuntimeDocker } from '../../lab/runtimes/clients.ts'
import { LAYER_BYTES, openRuntimesLab, sharingOf } from '../../lab/runtimes/measure-client.ts'

const NODES = ['a', 'b'] as const
type NodeName = (typeof NODES)[number]

/** The most that each store takes, with Shoal and without. */
const LAYERS_MAX = { classic: 125, containerd: 127 }
/** Larger than the smallest blob that is shared. */
const SMALL_LAYER_BYTES = 300_000
const PULL_MS_MAX = 60_000
/** The registry's link while a pull is to be interrupted: the image takes three seconds. */
const SLOW_BITS_PER_SECOND = 64e6
const SOME_BYTES = 4_000_000
/** What an interrupted pull has in flight is lost. */
const COPIES_MAX_INTERRUPTED = 1.2

/** What people do with a Docker daemon, on two nodes of one store. */
export function tellDockerWorkloads(suite: Suite, store: 'classic' | 'containerd'): void {
  const isSkipped = mustSkipForParts(suite) || mustSkipFor(requirementsFor(['skopeo']))
  describe.skipIf(isSkipped)(`Docker of ${suite} with the ${store} store`, () => {
    let lab: Lab
    const daemons = new Map<NodeName, Docker>()
    let images = 0
    const docker = (name: NodeName) => daemons.get(name)!
    const publish = (layers = LAYER_BYTES, compression?: 'zstd') =>
      lab.publish(`work-${++images}`, layers, compression)
    const onBoth = async (act: (daemon: Docker, name: NodeName) => Promise<unknown>) => {
      for (const name of NODES) await act(docker(name), name)
    }
    const expectShared = async (image: Pick<ImageReference, 'layers'>) => {
      const { registryCopies, peerShare } = await sharingOf(lab, image)
      expect(registryCopies).toBeLessThanOrEqual(COPIES_MAX)
      expect(registryCopies).toBeGreaterThan(0.99)
      expect(peerShare).toBeGreaterThanOrEqual(PEER_SHARE_MIN)
    }
    const folderOf = (name: NodeName) => {
      const folder = join(lab.node(name).host.dir, `work-${images}`)
      mkdirSync(folder, { recursive: true })
      return folder
    }

    beforeAll(async () => {
      lab = await openRuntimesLab('own host')
      const parts = requireFetched(suite)
      for (const name of NODES) {
        const site = { lab, node: lab.node(name), parts }
        daemons.set(name, await startRuntimeDocker(site, 'docker', store === 'containerd'))
      }
    })
    afterAll(async () => {
      await lab?.close()
      if (lab) expect(remainsOf(lab.run.id)).toEqual([])
    })

    test('pulls by digest', async () => {
      const image = await publish()
      await onBoth((daemon) => daemon.command(['pull', '--quiet', atDigest(lab, image)]))
      await expectShared(image)
    })

    test('pulls the image of another architecture', async () => {
      const { run, registry, registryHost } = lab
      const index = { run, registry, registryHost, tag: `index-${++images}`, layerDataBytes: LAYER_BYTES }
      const { amd64, arm64 } = await publishIndex(index)
      await onBoth((daemon) => daemon.command(['pull', '--quiet', '--platform', 'linux/arm64', arm64.name]))
      await expectShared(arm64)
      expect((await sharingOf(lab, amd64)).registryCopies).toBe(0)
    })

    test('pulls layers that are packed with zstd', async () => {
      const image = await publish(LAYER_BYTES, 'zstd')
      await onBoth((daemon) => daemon.pull(image))
      await expectShared(image)
    })

    test(`pulls ${LAYERS_MAX[store]} layers`, async () => {
      const image = await publish(Array.from({ length: LAYERS_MAX[store] }, () => SMALL_LAYER_BYTES))
      await onBoth((daemon) => daemon.pull(image))
      await expectShared(image)
      expect(await docker('b').verify(image)).toBe(true)
    })

    test('compose pulls', async () => {
      const image = await publish()
      await onBoth((daemon, name) => {
        const file = join(folderOf(name), 'compose.json')
        writeFileSync(file, JSON.stringify({ name: 'work', services: { app: { image: image.name } } }))
        return daemon.command(['compose', '--file', file, 'pull', '--quiet'])
      })
      await expectShared(image)
      expect(await docker('b').verify(image)).toBe(true)
    })

    test('buildx builds from a private image', async () => {
      const image = await publish()
      await onBoth(async (daemon, name) => {
        const folder = buildContext(folderOf(name), image)
        await daemon.command(['buildx', 'build', '--quiet', '--tag', 'built', folder])
      })
      await expectShared(image)
    })

    test('the older builder builds from a private image, and the result is pushed through the proxy', async () => {
      const image = await publish()
      const pushed = `${lab.registry.host}/${lab.registry.repository}:pushed`
      await onBoth(async (daemon, name) => {
        const folder = buildContext(folderOf(name), image)
        await daemon.command(['build', '--quiet', '--tag', pushed, folder], undefined, {
          DOCKER_BUILDKIT: '0',
        })
      })
      await expectShared(image)
      const { user, password } = lab.registry.publisher
      await docker('a').command(
        ['login', '--username', user, '--password-stdin', lab.registry.host],
        password,
      )
      await docker('a').command(['push', '--quiet', pushed])
      await docker('b').command(['image', 'rm', '--force', pushed])
      await docker('b').command(['pull', '--quiet', pushed])
      const digests = await Promise.all(NODES.map((name) => digestsOf(docker(name), pushed)))
      expect(digests[1]).toEqual(digests[0])
    })

    test('a Swarm service is created from a private image', async () => {
      const image = await publish()
      await onBoth(async (daemon, name) => {
        await daemon.command(['swarm', 'init', '--advertise-addr', lab.node(name).host.address])
        const service = ['--name', 'work', '--network', 'host', '--restart-condition', 'none']
        await daemon.command([
          'service',
          'create',
          '--quiet',
          '--detach',
          '--with-registry-auth',
          ...service,
          image.name,
        ])
        await waitFor(`the image of ${name}’s service`, PULL_MS_MAX, () =>
          daemon.command(['image', 'inspect', atDigest(lab, image)]),
        )
        await daemon.command(['swarm', 'leave', '--force'])
      })
      await expectShared(image)
    })

    test('a pull that is stopped with Ctrl-C goes on when it is repeated', async () => {
      const image = await publish()
      await lab.run.network.shape(lab.registryHost, SLOW_BITS_PER_SECOND)
      const pull = lab.run.processes.start({
        name: 'stopped-pull',
        argv: docker('a').commandLine(['pull', image.name]),
      })
      await waitFor(
        'some bytes',
        PULL_MS_MAX,
        async () => (await hereOf(lab, image)) > SOME_BYTES || undefined,
      )
      pull.kill('SIGINT')
      await pull.ended
      expect(await hereOf(lab, image)).toBeLessThan(totalOf(image))
      await docker('a').pull(image)
      await lab.run.network.unshape(lab.registryHost)
      await docker('b').pull(image)
      expect(await docker('b').verify(image)).toBe(true)
      const { registryCopies, peerShare } = await sharingOf(lab, image)
      expect(registryCopies).toBeLessThanOrEqual(COPIES_MAX_INTERRUPTED)
      expect(peerShare).toBeGreaterThanOrEqual(PEER_SHARE_MIN)
    })
  })
}

function atDigest(lab: Lab, { manifestDigest }: ImageReference): string {
  return `${lab.registry.host}/${lab.registry.repository}@${manifestDigest}`
}

/** A layer of its own on top, so that there is something to push. */
function buildContext(folder: string, { name }: ImageReference): string {
  writeFileSync(join(folder, 'Dockerfile'), `FROM ${name}\nCOPY added /added\n`)
  writeFileSync(join(folder, 'added'), randomBytes(400_000))
  return folder
}

async function digestsOf(daemon: Docker, name: string): Promise<string[]> {
  const [image] = JSON.parse(await daemon.command(['image', 'inspect', name])) as { RepoDigests: string[] }[]
  return image!.RepoDigests
}

const totalOf = ({ layers }: ImageReference) => layers.reduce((sum, { bytes }) => sum + bytes, 0)

/** Bytes of the image's layers that have come to the first node. */
async function hereOf(lab: Lab, { layers }: ImageReference): Promise<number> {
  const blobs = (await lab.node('a').shoal!.progress()).filter(({ digest }) =>
    layers.some((layer) => layer.digest === digest),
  )
  return blobs.reduce((sum, { bytesFromRegistry }) => sum + bytesFromRegistry, 0)
}
