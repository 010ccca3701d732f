import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { requirementsFor, startLab } from '../../lab/cluster.ts'
import type { Lab } from '../../lab/lab.ts'
import { remainsOf } from '../../lab/machine/leftovers.ts'
import { mustSkipFor } from '../../lab/machine/requirements.ts'
import {
  BLOB_BYTES,
  expectWhole,
  LINKS,
  logLines,
  moreOf,
  pullTogether,
  reviveAll,
  TINY_IMAGE,
  tell,
} from './fault-story.ts'

const NODES = ['node1', 'node2', 'node3', 'node4']
const CLOCK_OFFSET_SECONDS = 300
/** The pieces that a killed node alone had, at most its quarter, are fetched by each of the three others. */
const COPIES_WITH_A_DEATH_MAX = 1.9
/** A piece or two for each node, of answers that broke off and of impatience. */
const COPIES_WITH_A_BREAK_MAX = 1.4
/** After this time without a tracker each node fetches what it lacks for itself. A busy machine takes longer to start one. */
const NODES_WAIT_MS = 1_500

/** A release arrives at four nodes at once, and in the middle of it a part of the cluster dies. */
describe.skipIf(mustSkipFor([...requirementsFor(['skopeo']), 'tc', 'faketime']))(
  'a cold swarm that loses a part',
  () => {
    let lab: Lab
    beforeAll(async () => {
      const plan = (name: string, clockOffsetSeconds = 0) => ({
        ...{ name, puller: 'skopeo' as const, clockOffsetSeconds },
      })
      const ahead = plan('ahead', CLOCK_OFFSET_SECONDS)
      const behind = plan('behind', -CLOCK_OFFSET_SECONDS)
      const nodes = [...NODES.map((name) => plan(name)), ahead, behind]
      lab = await startLab({ nodes, layerDataBytes: TINY_IMAGE, links: LINKS })
    })
    afterEach(() => reviveAll(lab))
    afterAll(async () => {
      await lab?.close()
      if (lab) expect(remainsOf(lab.run.id)).toEqual([])
    })

    test('lease holder killed: the others fetch its pieces, and its client pulls when it is back', async () => {
      const story = await pullTogether(lab, NODES)
      await story.midway(...NODES)
      lab.kill('node2')
      expect(await story.ended(...NODES)).toEqual(['pulled', 'failed', 'pulled', 'pulled'])
      await expectWhole(lab, story.image, ['node1', 'node3', 'node4'])
      expect(story.copies()).toBeLessThan(COPIES_WITH_A_DEATH_MAX)
      await lab.revive('node2')
      const again = tell(lab, story.image, ['node2'])
      expect(await again.ended('node2')).toEqual(['pulled'])
      await expectWhole(lab, story.image, ['node2'])
    })

    test('uploader killed: its downloader takes the rest from the registry', async () => {
      const filled = await pullTogether(lab, ['node1'])
      expect(await filled.ended('node1')).toEqual(['pulled'])
      const story = tell(lab, filled.image, ['node2', 'node3'])
      await story.midway('node2', 'node3')
      for (const name of ['node2', 'node3']) {
        expect(await story.progress(name)).toMatchObject({ bytesFromRegistry: 0 })
      }
      lab.kill('node1')
      expect(await story.ended('node2', 'node3')).toEqual(['pulled', 'pulled'])
      await expectWhole(lab, story.image, ['node2', 'node3'])
      // One for the uploader, and the rest of one for those two together.
      expect(story.copies()).toBeLessThan(2)
    })

    test('tracker killed: every pull ends well, with what the nodes have of each other and of the registry', async () => {
      const story = await pullTogether(lab, NODES)
      await story.midway(...NODES)
      lab.kill('tracker')
      expect(await story.ended(...NODES)).toEqual(NODES.map(() => 'pulled'))
      await expectWhole(lab, story.image, NODES)
      expect(story.copies()).toBeLessThan(NODES.length)
    })

    test('tracker restarted: the swarm continues where it was', async () => {
      const story = await pullTogether(lab, NODES)
      await story.midway(...NODES)
      lab.kill('tracker')
      const killedAtMs = Date.now()
      await lab.revive('tracker')
      const isAwayLong = Date.now() - killedAtMs > NODES_WAIT_MS
      expect(await story.ended(...NODES)).toEqual(NODES.map(() => 'pulled'))
      await expectWhole(lab, story.image, NODES)
      const copiesMax = isAwayLong ? COPIES_WITH_A_DEATH_MAX : COPIES_WITH_A_BREAK_MAX
      expect(await story.linkCopies()).toBeLessThan(copiesMax)
    })

    test('half of the nodes cut off from the other half: both get on, and end well when healed', async () => {
      const halves = [NODES.slice(0, 2), NODES.slice(2)] as const
      const story = await pullTogether(lab, NODES, 2 * BLOB_BYTES)
      await story.midway(...NODES)
      await lab.separate(...halves)
      await moreOf(story, NODES, 0.2).finally(() => lab.reunite(...halves))
      expect(await story.ended(...NODES)).toEqual(NODES.map(() => 'pulled'))
      await expectWhole(lab, story.image, NODES)
      // Neither half needs more than a copy of its own.
      expect(story.copies()).toBeLessThan(2)
    })

    test('clocks five minutes off, ahead and behind: those nodes are in the swarm as any other', async () => {
      const names = ['node1', 'ahead', 'behind']
      const story = await pullTogether(lab, names)
      expect(await story.ended(...names)).toEqual(names.map(() => 'pulled'))
      await expectWhole(lab, story.image, names)
      for (const name of names) expect((await story.progress(name))?.bytesFromPeers).toBeGreaterThan(0)
      expect(story.copies()).toBeLessThan(1.2)
      const lastLogged = (name: string) =>
        Date.parse(String(logLines(lab.node(name).shoal!.process).at(-1)!.time))
      expect((lastLogged('ahead') - lastLogged('behind')) / 1000).toBeGreaterThan(
        2 * CLOCK_OFFSET_SECONDS - 60,
      )
    })

    test('registry and token server killed and started again: the broken answers are asked for again', async () => {
      const story = await pullTogether(lab, NODES)
      await story.midway(...NODES)
      lab.kill('registry')
      await lab.revive('registry')
      expect(await story.ended(...NODES)).toEqual(NODES.map(() => 'pulled'))
      await expectWhole(lab, story.image, NODES)
      expect(story.copies()).toBeLessThan(COPIES_WITH_A_BREAK_MAX)
    })
  },
)
