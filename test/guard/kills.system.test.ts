import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { callGuard } from '../../guard/control.ts'
import { requirementsFor, startLab } from '../../lab/cluster.ts'
import type { Lab, LabNode } from '../../lab/lab.ts'
import { remainsOf } from '../../lab/machine/leftovers.ts'
import { waitFor } from '../../lab/machine/processes.ts'
import { mustSkipFor } from '../../lab/machine/requirements.ts'
import type { ImageReference } from '../../lab/pullers/puller.ts'
import { startMirrorClient } from '../lab/mirror-clients.ts'

/** Parts are killed while bytes flow. `npm run test:full` has a hundred kills, and more clients. */
const IS_FULL = process.env.SHOAL_TESTS === 'full'

const PARTS = ['node', 'relay', 'tracker'] as const
type Part = (typeof PARTS)[number]
/** No pull of these may fail. */
const LASTING: readonly Client[] = IS_FULL ? ['docker', 'containerd'] : ['docker']
/** These may fail where their connection is cut, but not more often than where it leads to the registry directly. */
const FRAGILE: readonly Client[] = IS_FULL ? ['podman', 'skopeo'] : []
const EACH = IS_FULL ? 2 : 4
const KILLS = Number(process.env.SHOAL_TESTS_KILLS ?? (IS_FULL ? 100 : 20))
const ROUNDS = KILLS / (LASTING.length * EACH)
const CLIENTS = [...LASTING.flatMap((client) => Array<Client>(EACH).fill(client)), ...FRAGILE]
type Client = 'docker' | 'containerd' | 'podman' | 'skopeo'

const ROUND_SECONDS_MAX = 120
const LAYER_BYTES = 4_000_000
/** A layer takes a second for each node that fetches it directly: long enough to be cut. */
const REGISTRY_BITS_PER_SECOND = IS_FULL ? 48_000_000 : 32_000_000
/** So much of it has come when a part is killed. */
const FLOWING_BYTES = 500_000
/** dockerd asks again after 5 s, and after a second refusal 10 s later. */
const DOCKER_SECONDS_MAX = 15

interface Pulled {
  client: Client
  part: Part
  seconds: number
  failure?: string
}

const NEEDED = IS_FULL
  ? ([...requirementsFor(['docker', 'podman']), 'containerd', 'ctr'] as const)
  : requirementsFor(['docker'])

describe.skipIf(mustSkipFor(NEEDED))('clients behind a guard', () => {
  let lab: Lab
  const pullers = new Map<LabNode, { client: Client; pull(image: ImageReference): Promise<void> }>()
  beforeAll(async () => {
    lab = await startLab({
      nodes: CLIENTS.map((client, index) => ({
        name: `${client}${index}`,
        puller: client === 'containerd' ? 'skopeo' : client,
        isGuarded: true,
      })),
      layerDataBytes: [1000],
      links: { nodeBitsPerSecond: 1e9, registryBitsPerSecond: REGISTRY_BITS_PER_SECOND },
    })
    for (const [index, client] of CLIENTS.entries()) {
      const node = lab.nodes[index]!
      const mirrored = client === 'containerd' ? await startMirrorClient(lab, node.name, client) : undefined
      pullers.set(node, { client, pull: (image) => (mirrored ?? node.puller).pull(image) })
    }
  }, 120_000)
  afterAll(async () => {
    await lab?.close()
    if (lab) expect(remainsOf(lab.run.id)).toEqual([])
  })

  test(
    `pull through ${KILLS} kills of node, relay or tracker`,
    async () => {
      const pulls: Pulled[] = []
      for (let round = 0; round < ROUNDS; round += 1) {
        const part = PARTS[round % PARTS.length]!
        const image = await lab.publish(`k${round}`, [LAYER_BYTES])
        const pulling = lab.nodes.map((node, index) =>
          pullThroughKill({ node, image, part, isFirst: index === 0 }),
        )
        pulls.push(...(await Promise.all(pulling)))
        if (part === 'tracker') await lab.tracker!.start()
      }
      console.log(`${table(pulls)}\n${pulls.flatMap(({ failure }) => failure ?? []).join('\n')}`)
      const failed = (clients: readonly Client[], parts: readonly Part[] = PARTS) =>
        pulls.filter((pull) => pull.failure && clients.includes(pull.client) && parts.includes(pull.part))
      expect(failed(LASTING)).toEqual([])
      expect(secondsOf(pulls, 'docker', 'node').at(-1)).toBeLessThan(DOCKER_SECONDS_MAX)
      for (const client of FRAGILE) {
        const most = failed([client], ['relay']).length
        expect(failed([client], ['node']).length).toBeLessThanOrEqual(most)
      }
    },
    ROUNDS * ROUND_SECONDS_MAX * 1000,
  )

  async function pullThroughKill(story: {
    node: LabNode
    image: ImageReference
    part: Part
    isFirst: boolean
  }): Promise<Pulled> {
    const { node, image, part, isFirst } = story
    const { client, pull } = pullers.get(node)!
    const control = node.shoal!.guardControl
    await until(control, { node: 'serving' })
    if (part === 'relay') {
      await callGuard(control, 'stop')
      await until(control, { node: 'off', relay: 'serving' })
    }
    const received = async () => (await lab.run.network.traffic(node.host)).receivedBytes
    const before = await received()
    const beganMs = performance.now()
    let failure: string | undefined
    const pulling = pull(image).catch((error: Error) => {
      failure = `${client}, ${part} killed: ${error.message}`
    })
    const isFlowing = async () => (await received()) > before + FLOWING_BYTES || undefined
    await Promise.race([waitFor('the layer', 30_000, isFlowing), pulling])
    const status = await callGuard(control, 'status')
    if (part !== 'tracker') process.kill(Number(status[`${part}Pid`]), 'SIGKILL')
    else if (isFirst) lab.tracker!.process.kill('SIGKILL')
    await pulling
    const seconds = (performance.now() - beganMs) / 1000
    if (failure === undefined && client !== 'containerd') expect(await node.puller.verify(image)).toBe(true)
    if (part === 'relay') await callGuard(control, 'start')
    return { client, part, seconds, ...(failure !== undefined && { failure }) }
  }
})

function until(control: string, wanted: Record<string, string>): Promise<unknown> {
  return waitFor(`a guard with ${JSON.stringify(wanted)}`, 60_000, async () => {
    const status = await callGuard(control, 'status')
    return Object.entries(wanted).every(([role, phase]) => status[role] === phase) || undefined
  })
}

/** Ascending. */
function secondsOf(pulls: Pulled[], client: Client, part: Part): number[] {
  const chosen = pulls.filter((pull) => pull.client === client && pull.part === part)
  return chosen.map(({ seconds }) => seconds).sort((one, other) => one - other)
}

/** A tunnel of the relay leads to the registry: its row is what a direct connection that is cut costs. */
function table(pulls: Pulled[]): string {
  const rows = [...new Set(CLIENTS)].flatMap((client) =>
    PARTS.map((part) => {
      const seconds = secondsOf(pulls, client, part)
      const failed = pulls.filter((pull) => pull.failure && pull.client === client && pull.part === part)
      const [median, longest] = [seconds[Math.floor(seconds.length / 2)], seconds.at(-1)]
      return `| ${client} | ${part} | ${seconds.length} | ${failed.length} | ${median?.toFixed(1)} | ${longest?.toFixed(1)} |`
    }),
  )
  return [
    '',
    '| client | killed | pulls | failed | median s | longest s |',
    '|---|---|--:|--:|--:|--:|',
    ...rows,
  ].join('\n')
}
