import { readFileSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { requirementsFor, startLab } from '../../lab/cluster.ts'
import type { Lab } from '../../lab/lab.ts'
import { remainsOf } from '../../lab/machine/leftovers.ts'
import { waitFor } from '../../lab/machine/processes.ts'
import { mustSkipFor } from '../../lab/machine/requirements.ts'
import { expectWhole, LINKS, logged, pullTogether, TINY_IMAGE } from './fault-story.ts'

const HANG_UP_MS = 5_000
const NODES = ['node1', 'node2', 'node3']
const nodes = NODES.map((name) => ({ name, puller: 'skopeo' as const }))
const PARTS = [...requirementsFor(['skopeo']), 'tc'] as const

/** A release arrives at three nodes at once, from registries that are not like Debian's. */
describe.skipIf(mustSkipFor(PARTS))('a cold swarm and a registry of another kind', () => {
  let lab: Lab
  beforeAll(async () => {
    lab = await startLab({ nodes, layerDataBytes: TINY_IMAGE, links: LINKS, hasRegistryFront: true })
  })
  afterAll(async () => {
    await lab?.close()
    if (lab) expect(remainsOf(lab.run.id)).toEqual([])
  })

  test('its connections killed in the middle of a blob: what was broken off is asked for again', async () => {
    await lab.registry.front!.behave({})
    const story = await pullTogether(lab, NODES)
    await story.midway(NODES[0]!)
    const lines = () => NODES.flatMap((name) => logged(lab.node(name).shoal!.process))
    // One moment may be between two answers.
    await waitFor('an answer that is broken off', HANG_UP_MS, async () => {
      await lab.registry.front!.hangUp()
      return lines().includes('a fetch from the registry broke off') || undefined
    })
    expect(await story.ended(...NODES)).toEqual(NODES.map(() => 'pulled'))
    await expectWhole(lab, story.image, NODES)
    // The log has answers whole that were broken off.
    expect(await story.linkCopies()).toBeLessThan(1.5)
  })

  test('it redirects blobs to another host: they are fetched from there, once, without the token', async () => {
    await lab.registry.front!.behave({ redirectsBlobs: true })
    const story = await pullTogether(lab, NODES)
    expect(await story.ended(...NODES)).toEqual(NODES.map(() => 'pulled'))
    await expectWhole(lab, story.image, NODES)
    expect(story.copies()).toBeLessThan(1.2)
    const storage = lab.registry.parts.find(({ name }) => name === 'storage')!
    const asked = readFileSync(storage.logFile, 'utf8').split('\n')
    const { digest } = story.image.layers[0]!
    expect(asked.filter((line) => line.includes(digest) && line.includes(' 206 ')).length).toBeGreaterThan(0)
    // It refuses whoever brings a credential with 400.
    expect(asked.filter((line) => line !== '' && !/" 20[06] /.test(line))).toEqual([])
  })

  // The last: a node remembers for ten minutes that this registry serves no ranges.
  test('it ignores Range: one node reads the blob from the start, and the others take it from that one', async () => {
    await lab.registry.front!.behave({ ignoresRange: true })
    const story = await pullTogether(lab, NODES)
    expect(await story.ended(...NODES)).toEqual(NODES.map(() => 'pulled'))
    await expectWhole(lab, story.image, NODES)
    const shares = await Promise.all(
      NODES.map(async (name) => (await story.progress(name))!.bytesFromRegistry),
    )
    expect(shares.toSorted((a, b) => a - b)).toEqual([0, 0, story.image.layers[0]!.bytes])
    // A node finds out from an answer that it does not read: what of it is on the way by then is sent for nothing.
    expect(await story.linkCopies()).toBeLessThan(1.5)
  })
})

/** Docker asks for layers and config at once, as long as its token lasts; skopeo and podman for the config at the end. */
describe.skipIf(mustSkipFor([...requirementsFor(['docker']), 'tc']))(
  'a blob that takes longer than the token for it lasts',
  () => {
    const TOKEN_SECONDS = 12
    /** One copy of the layer takes 14 s. */
    const REGISTRY_BITS_PER_SECOND = 10e6
    let lab: Lab
    beforeAll(async () => {
      lab = await startLab({
        nodes: ['node1', 'node2'].map((name) => ({ name, puller: 'docker' })),
        ...{ layerDataBytes: TINY_IMAGE, hasRegistryFront: true, tokenSeconds: TOKEN_SECONDS },
        links: { ...LINKS, registryBitsPerSecond: REGISTRY_BITS_PER_SECOND },
      })
      await lab.registry.front!.behave({ isStrictAboutTime: true })
    })
    afterAll(async () => {
      await lab?.close()
      if (lab) expect(remainsOf(lab.run.id)).toEqual([])
    })

    test('arrives whole at two nodes: answers opened in time are read on', async () => {
      const startedMs = performance.now()
      const story = await pullTogether(lab, ['node1', 'node2'])
      expect(await story.ended('node1', 'node2')).toEqual(['pulled', 'pulled'])
      expect((performance.now() - startedMs) / 1000).toBeGreaterThan(TOKEN_SECONDS)
      await expectWhole(lab, story.image, ['node1', 'node2'])
      expect(story.copies()).toBeLessThan(2)
    })
  },
)
