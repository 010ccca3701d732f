import { readFileSync } from 'node:fs'
import { gunzipSync } from 'node:zlib'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { COPIES_MAX, PEER_SHARE_MIN } from '../../bench/runtimes/report.ts'
import { digestFromHex } from '../../core/digest.ts'
import { requirementsFor } from '../../lab/cluster.ts'
import type { Lab } from '../../lab/lab.ts'
import { remainsOf } from '../../lab/machine/leftovers.ts'
import { mustSkipFor } from '../../lab/machine/requirements.ts'
import { mustSkipForParts, requireFetched } from '../../lab/parts/parts.ts'
import { ArchiveDigests } from '../../lab/pullers/archive-digests.ts'
import type { ImageReference } from '../../lab/pullers/puller.ts'
import { type Soci, startSoci } from '../../lab/pullers/soci.ts'
import { commonOf, RUNTIME_CLIENTS } from '../../lab/runtimes/clients.ts'
import { openRuntimesLab, sharingOf } from '../../lab/runtimes/measure-client.ts'

const SUITE = 'sid'
const LAZY_LAYERS = [24_000_000, 12_000_000]
const HUGE_LAYER = 4 * 1024 ** 3
const HUGE_MS_MAX = 15 * 60_000

const isSkipped = mustSkipForParts(SUITE) || mustSkipFor(requirementsFor(['skopeo']))

describe.skipIf(isSkipped)('what takes long', () => {
  let lab: Lab
  beforeAll(async () => {
    lab = await openRuntimesLab('own host')
  })
  afterAll(async () => {
    await lab?.close()
    if (lab) expect(remainsOf(lab.run.id)).toEqual([])
  })

  const expectShared = async (image: ImageReference) => {
    const { registryCopies, peerShare } = await sharingOf(lab, image)
    expect(registryCopies).toBeLessThanOrEqual(COPIES_MAX)
    expect(peerShare).toBeGreaterThanOrEqual(PEER_SHARE_MIN)
  }

  test('SOCI mounts layers, and what one node has read comes to the other from it', async () => {
    const parts = requireFetched(SUITE)
    const image = await lab.publish('lazy', LAZY_LAYERS, { gzipLevel: 1 })
    const at = (name: string) => ({
      ...commonOf({ lab, node: lab.node(name), parts }),
      folder: 'soci',
      generation: 2 as const,
    })
    const publisher = {
      ...at('a'),
      host: lab.registryHost,
      proxyUrl: undefined,
      account: lab.registry.publisher,
    }
    await (await startSoci(publisher)).publishIndex(image)
    const before = await sharingOf(lab, image)
    const lazy: Soci[] = []
    for (const name of ['a', 'b']) {
      const soci = await startSoci(at(name))
      lazy.push(soci)
      await soci.mount(image)
      for (const [index, { digest }] of image.layers.entries()) {
        const files = new ArchiveDigests()
        files.push(gunzipSync(readFileSync(lab.registry.blobFile(digest))))
        expect(files.hasAll([digestFromHex(await soci.hashOf(`data-${index + 1}`))])).toBe(true)
      }
    }
    const after = await sharingOf(lab, image)
    expect(after.registryCopies - before.registryCopies).toBeLessThanOrEqual(COPIES_MAX)
    expect(after.registryCopies - before.registryCopies).toBeGreaterThan(0.9)
    expect(after.peerShare).toBeGreaterThanOrEqual(PEER_SHARE_MIN)
  })

  test('containerd pulls a layer of 4 GiB', { timeout: HUGE_MS_MAX }, async () => {
    const image = await lab.publish('huge', [HUGE_LAYER])
    const { start } = RUNTIME_CLIENTS.find(
      ({ client, suite }) => client === 'containerd CRI' && suite === SUITE,
    )!
    for (const name of ['a', 'b']) {
      const runtime = await start({ lab, node: lab.node(name), parts: requireFetched(SUITE) }, 'huge')
      await runtime.pull(image)
      expect(await runtime.verify(image)).toBe(true)
    }
    await expectShared(image)
  })
})
