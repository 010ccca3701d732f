import { appendFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { digestHex, parseDigest } from '../../core/digest.ts'
import { requirementsFor, startLab } from '../../lab/cluster.ts'
import { PROGRAM_LINE } from '../../lab/image/image.ts'
import type { Lab } from '../../lab/lab.ts'
import { remainsOf } from '../../lab/machine/leftovers.ts'
import { mustSkipFor } from '../../lab/machine/requirements.ts'
import type { PullerKind } from '../../lab/pullers/puller.ts'

const KINDS: PullerKind[] = ['docker', 'skopeo', 'podman']

describe.skipIf(mustSkipFor(requirementsFor(KINDS)))(
  'real pulling clients, straight from the registry',
  () => {
    let lab: Lab
    beforeAll(async () => {
      const nodes = KINDS.map((puller) => ({ name: puller, puller }))
      lab = await startLab({ nodes, layerDataBytes: [3_000_000, 2_000_000], hasShoal: false })
    })
    afterAll(async () => {
      await lab?.close()
      if (lab) expect(remainsOf(lab.run.id)).toEqual([])
    })

    test.each(KINDS)(
      '%s takes each layer from the registry once, and stores what was pushed',
      async (name) => {
        const before = lab.registryEgress()
        await lab.pull(name)
        for (const { digest, bytes } of lab.image.layers) {
          const taken = lab.registryEgress().get(digest)!
          expect(taken.bytes - before.get(digest)!.bytes).toBe(bytes)
          expect(taken.requests - before.get(digest)!.requests).toBe(1)
        }
        expect(await lab.node(name).puller.verify(lab.image)).toBe(true)
      },
    )

    test.each(['docker', 'podman'])('the pulled image runs under %s', async (name) => {
      expect(await lab.node(name).puller.run(lab.image)).toBe(`${PROGRAM_LINE}\n`)
    })

    test.each(KINDS)('%s is not believed to hold an image that was never pushed', async (name) => {
      const absent = parseDigest(`sha256:${'0'.repeat(64)}`)
      const layers = [{ ...lab.image.layers[0]!, digest: absent, diffId: absent }]
      expect(await lab.node(name).puller.verify({ ...lab.image, layers })).toBe(false)
    })

    test('one byte more in a stored layer is noticed', async () => {
      const { host, puller } = lab.node('skopeo')
      appendFileSync(join(host.dir, 'skopeo', 'image', digestHex(lab.image.layers[0]!.digest)), 'x')
      expect(await puller.verify(lab.image)).toBe(false)
    })
  },
)
