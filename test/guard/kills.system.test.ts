import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { callGuard } from '../../guard/control.ts'
import { requirementsFor, startLab } from '../../lab/cluster.ts'
import type { Lab, LabNode } from '../../lab/lab.ts'
import { remainsOf } from '../../lab/machine/leftovers.ts'
import { waitFor } from '../../lab/machine/processes.ts'
import { mustSkipFor } from '../../lab/machine/requirements.ts'
import type { ImageReference } from '../../lab/pullers/puller.ts'

/** Each is in the middle of a pull of its own. `npm run test:full` has the whole hundred. */
const KILLS = process.env.SHOAL_TESTS === 'full' ? 100 : 20
/** dockerd asks again after 5 s, then 10 s, then 15 s. */
const KILL_SECONDS_MAX = 60
const PARTS = ['node', 'relay', 'tracker'] as const
type Part = (typeof PARTS)[number]

const LAYER_BYTES = 4_000_000
/** A layer takes two seconds: long enough to be cut. */
const REGISTRY_BITS_PER_SECOND = 16_000_000
/** So much of it has come when a part is killed. */
const FLOWING_BYTES = 500_000

describe.skipIf(mustSkipFor(requirementsFor(['docker'])))('dockerd behind a guard', () => {
  let lab: Lab
  beforeAll(async () => {
    lab = await startLab({
      nodes: ['one', 'two'].map((name) => ({ name, puller: 'docker', isGuarded: true })),
      layerDataBytes: [1000],
      links: { nodeBitsPerSecond: 1e9, registryBitsPerSecond: REGISTRY_BITS_PER_SECOND },
    })
  })
  afterAll(async () => {
    await lab?.close()
    if (lab) expect(remainsOf(lab.run.id)).toEqual([])
  })

  test(
    `finishes each of ${KILLS} pulls in whose middle node, relay or tracker is killed`,
    async () => {
      const slowest: Record<Part, number> = { node: 0, relay: 0, tracker: 0 }
      for (let round = 0; round < KILLS / 2; round += 1) {
        const part = PARTS[round % PARTS.length]!
        const image = await lab.publish(`k${round}`, [LAYER_BYTES])
        const seconds = await Promise.all(
          lab.nodes.map((node, index) => pullThroughKill({ node, image, part, isFirst: index === 0 })),
        )
        slowest[part] = Math.max(slowest[part], ...seconds)
        if (part === 'tracker') await lab.tracker!.start()
      }
      console.log(`longest pull in seconds, by who was killed: ${JSON.stringify(slowest)}`)
    },
    KILLS * KILL_SECONDS_MAX * 1000,
  )

  /** @returns seconds of the pull */
  async function pullThroughKill(story: {
    node: LabNode
    image: ImageReference
    part: Part
    isFirst: boolean
  }): Promise<number> {
    const { node, image, part, isFirst } = story
    const control = node.shoal!.guardControl
    await until(control, { node: 'serving' })
    if (part === 'relay') {
      await callGuard(control, 'stop')
      await until(control, { node: 'off', relay: 'serving' })
    }
    const received = async () => (await lab.run.network.traffic(node.host)).receivedBytes
    const before = await received()
    const beganMs = performance.now()
    const pulling = node.puller.pull(image)
    const isFlowing = async () => (await received()) > before + FLOWING_BYTES || undefined
    const flowing = waitFor('the layer', 30_000, isFlowing)
    await Promise.race([flowing, pulling])
    const status = await callGuard(control, 'status')
    if (part !== 'tracker') process.kill(Number(status[`${part}Pid`]), 'SIGKILL')
    else if (isFirst) lab.tracker!.process.kill('SIGKILL')
    await pulling
    const seconds = (performance.now() - beganMs) / 1000
    expect(await node.puller.verify(image)).toBe(true)
    if (part === 'relay') await callGuard(control, 'start')
    return seconds
  }
})

function until(control: string, wanted: Record<string, string>): Promise<unknown> {
  return waitFor(`a guard with ${JSON.stringify(wanted)}`, 60_000, async () => {
    const status = await callGuard(control, 'status')
    return Object.entries(wanted).every(([role, phase]) => status[role] === phase) || undefined
  })
}
