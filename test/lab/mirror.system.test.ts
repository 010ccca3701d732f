import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { requirementsFor, startLab } from '../../lab/cluster.ts'
import type { Lab } from '../../lab/lab.ts'
import { remainsOf } from '../../lab/machine/leftovers.ts'
import { mustSkipFor } from '../../lab/machine/requirements.ts'
import type { ImageReference } from '../../lab/pullers/puller.ts'
import { REGISTRY_HOST } from '../../lab/registry/registry.ts'
import { REFUSAL_SETTLES_MS } from '../../proxy/mirror-refusals.ts'
import { MIRROR, MIRROR_OF_REGISTRY, type MirrorClient, startMirrorClient } from './mirror-clients.ts'

const KINDS = ['containerd', 'podman', 'skopeo'] as const
const PARTS = [...requirementsFor(['podman', 'skopeo']), 'containerd', 'ctr'] as const

describe.skipIf(mustSkipFor(PARTS))('runtimes with the mirror, in a private registry', () => {
  let lab: Lab
  const clients = new Map<string, MirrorClient>()
  beforeAll(async () => {
    lab = await startLab({
      nodes: ['a', 'b'].map((name) => ({ name, puller: 'skopeo' as const })),
      layerDataBytes: [10_000],
      nodeConfig: { mirrorListen: `${MIRROR},${REGISTRY_HOST}=${MIRROR_OF_REGISTRY}` },
    })
    for (const kind of KINDS) {
      for (const node of ['a', 'b']) {
        clients.set(`${kind} ${node}`, await startMirrorClient(lab, node, kind))
      }
    }
  })
  afterAll(async () => {
    await lab?.close()
    if (lab) expect(remainsOf(lab.run.id)).toEqual([])
  })

  const publish = (tag: string) => lab.publish(tag, [5_000_000, 3_000_000])
  const egressOf = ({ layers }: ImageReference) =>
    layers.reduce((sum, { digest }) => sum + (lab.registry.egress().get(digest)?.bytes ?? 0), 0)
  const bytesOf = ({ layers }: ImageReference) => layers.reduce((sum, { bytes }) => sum + bytes, 0)

  async function peerBytesOf(node: string, image: ImageReference): Promise<number> {
    const digests = new Set<string>(image.layers.map(({ digest }) => digest))
    const blobs = (await lab.node(node).shoal!.progress()).filter(({ digest }) => digests.has(digest))
    return blobs.reduce((sum, { bytesFromPeers }) => sum + bytesFromPeers, 0)
  }

  test.each(KINDS)('%s shares: one copy leaves the registry for two nodes', async (kind) => {
    const image = await publish(`shared-${kind}`)
    await clients.get(`${kind} a`)!.pull(image)
    await clients.get(`${kind} b`)!.pull(image)
    expect(egressOf(image) / bytesOf(image)).toBeLessThanOrEqual(1.05)
    expect((await peerBytesOf('b', image)) / bytesOf(image)).toBeGreaterThanOrEqual(0.95)
  })

  test('podman without a credential for the mirror pulls from the registry, and the node says why', async () => {
    const image = await publish('unknown')
    const client = await startMirrorClient(lab, 'a', 'podman', { isKnownToMirror: false })
    await client.pull(image)
    expect(egressOf(image)).toBe(bytesOf(image))
    expect(await lab.progress('a')).toEqual([])
    await vi.waitUntil(async () => (await lab.node('a').shoal!.conditions()).includes('MIRROR_REFUSED'), {
      timeout: REFUSAL_SETTLES_MS + 10_000,
      interval: 1000,
    })
  })

  test('every runtime goes on to the registry while the node is down', async () => {
    lab.node('b').shoal!.process.kill('SIGKILL')
    await lab.node('b').shoal!.process.ended
    for (const kind of KINDS) {
      const image = await publish(`down-${kind}`)
      await clients.get(`${kind} b`)!.pull(image)
      expect([kind, egressOf(image)]).toEqual([kind, bytesOf(image)])
    }
  })
})
