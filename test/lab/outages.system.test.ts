import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { requirementsFor, startLab } from '../../lab/cluster.ts'
import { PROGRAM_LINE } from '../../lab/image/image.ts'
import type { Lab } from '../../lab/lab.ts'
import { remainsOf } from '../../lab/machine/leftovers.ts'
import { mustSkipFor } from '../../lab/machine/requirements.ts'

/** Stories of real clients whose cluster loses a part; told in order, in one lab. */
describe.skipIf(mustSkipFor(requirementsFor(['docker', 'skopeo'])))(
  'real clients in a cluster that loses parts',
  () => {
    let lab: Lab
    beforeAll(async () => {
      lab = await startLab({
        nodes: [
          { name: 'seed', puller: 'skopeo' },
          { name: 'daemon', puller: 'docker' },
          { name: 'third', puller: 'skopeo' },
          { name: 'late', puller: 'docker' },
        ],
        layerDataBytes: [6_000_000, 4_000_000],
      })
    })
    afterAll(async () => {
      await lab?.close()
      if (lab) expect(remainsOf(lab.run.id)).toEqual([])
    })

    async function peerBytesOf(name: string): Promise<number> {
      return (await lab.progress(name)).reduce((sum, { bytesFromPeers }) => sum + bytesFromPeers, 0)
    }

    test('with the tracker dead, dockerd pulls the image from the registry, and it runs', async () => {
      await lab.pull('seed')
      lab.tracker!.process.kill('SIGKILL')
      await lab.pull('daemon')
      const { puller } = lab.node('daemon')
      expect(await puller.verify(lab.image)).toBe(true)
      expect(await puller.run(lab.image)).toBe(`${PROGRAM_LINE}\n`)
      expect(await peerBytesOf('daemon')).toBe(0)
    })

    test('with the tracker back, the next node takes every layer from a peer', async () => {
      await lab.tracker!.start()
      const before = [...lab.registryEgress().values()]
      // The seed tells the tracker what it holds with its next heartbeat.
      await new Promise((resolve) => setTimeout(resolve, 6000))
      await lab.pull('third')
      expect(await peerBytesOf('third')).toBe(lab.image.layers.reduce((sum, { bytes }) => sum + bytes, 0))
      expect([...lab.registryEgress().values()]).toEqual(before)
      expect(await lab.node('third').puller.verify(lab.image)).toBe(true)
    })

    test('with the registry dead, dockerd gets a clear error soon', async () => {
      for (const part of lab.registry.parts) part.kill('SIGKILL')
      const startedMs = performance.now()
      await expect(lab.pull('late')).rejects.toMatchObject({ code: 'LAB_COMMAND' })
      await expect(lab.pull('late')).rejects.toThrow(/REGISTRY_UNREACHABLE/)
      expect(performance.now() - startedMs).toBeLessThan(60_000)
    })
  },
)
