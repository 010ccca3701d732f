import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect } from 'vitest'
import { callGuard } from '../../guard/control.ts'
import { startLab } from '../../lab/cluster.ts'
import type { Lab, LabNode } from '../../lab/lab.ts'
import { remainsOf } from '../../lab/machine/leftovers.ts'
import { waitFor } from '../../lab/machine/processes.ts'
import type { ImageReference } from '../../lab/pullers/puller.ts'
import { startMirrorClient } from '../lab/mirror-clients.ts'

/** Guarded nodes whose clients pull one image at a time, and lose a part while bytes flow. */

export const PARTS = ['node', 'relay', 'tracker'] as const
/** A tunnel of the relay leads to the registry: to kill it is to cut a direct connection. */
export type Part = (typeof PARTS)[number]
export type Client = 'docker' | 'containerd' | 'podman' | 'skopeo'

export const ROUND_SECONDS_MAX = 120
const LAYER_BYTES = 4_000_000
/** So much of it has come when a part is killed. */
const FLOWING_BYTES = 500_000

export interface Pulled {
  client: Client
  part: Part
  seconds: number
  failure?: string
}

export class KillStory {
  readonly #lab: Lab
  readonly #pullers = new Map<LabNode, { client: Client; pull(image: ImageReference): Promise<void> }>()
  #rounds = 0

  private constructor(lab: Lab) {
    this.#lab = lab
  }

  /** @param registryBitsPerSecond so that a layer takes a second for each node that fetches it directly: long enough to be cut */
  static async start(clients: readonly Client[], registryBitsPerSecond: number): Promise<KillStory> {
    const lab = await startLab({
      nodes: clients.map((client, index) => ({
        name: `${client}${index}`,
        puller: client === 'containerd' ? 'skopeo' : client,
        isGuarded: true,
      })),
      layerDataBytes: [1000],
      links: { nodeBitsPerSecond: 1e9, registryBitsPerSecond },
    })
    const story = new KillStory(lab)
    for (const [index, client] of clients.entries()) {
      const node = lab.nodes[index]!
      const mirrored = client === 'containerd' ? await startMirrorClient(lab, node.name, client) : undefined
      story.#pullers.set(node, { client, pull: (image) => (mirrored ?? node.puller).pull(image) })
    }
    return story
  }

  /** All pull a new image. */
  async round(part: Part): Promise<Pulled[]> {
    const image = await this.#lab.publish(`k${this.#rounds}`, [LAYER_BYTES])
    this.#rounds += 1
    const pulling = this.#lab.nodes.map((node, index) =>
      this.#pull(node, { image, part, isFirst: index === 0 }),
    )
    const pulls = await Promise.all(pulling)
    if (part === 'tracker') await this.#lab.tracker!.start()
    return pulls
  }

  /** What dockerd says of downloads that it had to begin a third time. */
  get secondRetries(): string[] {
    const folder = join(this.#lab.run.dir, 'log')
    const logs = readdirSync(folder).filter((name) => name.endsWith('-dockerd.err.log'))
    const lines = logs.flatMap((name) => readFileSync(join(folder, name), 'utf8').split('\n'))
    return lines.filter((line) => /retrying \([2-9]\/\d\)/.test(line))
  }

  async close(): Promise<void> {
    await this.#lab.close()
    expect(remainsOf(this.#lab.run.id)).toEqual([])
  }

  async #pull(
    node: LabNode,
    { image, part, isFirst }: { image: ImageReference; part: Part; isFirst: boolean },
  ): Promise<Pulled> {
    const { client, pull } = this.#pullers.get(node)!
    const control = node.shoal!.guardControl
    await until(control, { node: 'serving' })
    if (part === 'relay') {
      await callGuard(control, 'stop')
      await until(control, { node: 'off', relay: 'serving' })
    }
    const received = async () => (await this.#lab.run.network.traffic(node.host)).receivedBytes
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
    else if (isFirst) this.#lab.tracker!.process.kill('SIGKILL')
    await pulling
    const seconds = (performance.now() - beganMs) / 1000
    if (failure === undefined && client !== 'containerd') expect(await node.puller.verify(image)).toBe(true)
    if (part === 'relay') await callGuard(control, 'start')
    return { client, part, seconds, ...(failure !== undefined && { failure }) }
  }
}

function until(control: string, wanted: Record<string, string>): Promise<unknown> {
  return waitFor(`a guard with ${JSON.stringify(wanted)}`, 60_000, async () => {
    const status = await callGuard(control, 'status')
    return Object.entries(wanted).every(([role, phase]) => status[role] === phase) || undefined
  })
}

export function pullsOf(pulls: readonly Pulled[], client: Client, part: Part): Pulled[] {
  return pulls.filter((pull) => pull.client === client && pull.part === part)
}

export function failedOf(pulls: readonly Pulled[]): Pulled[] {
  return pulls.filter(({ failure }) => failure !== undefined)
}

/** Ascending. */
export function secondsOf(pulls: readonly Pulled[]): number[] {
  return pulls.map(({ seconds }) => seconds).sort((one, other) => one - other)
}

export function table(pulls: readonly Pulled[]): string {
  const rows = [...new Set(pulls.map(({ client }) => client))].flatMap((client) =>
    PARTS.flatMap((part) => {
      const found = pullsOf(pulls, client, part)
      if (found.length === 0) return []
      const seconds = secondsOf(found)
      const [median, longest] = [seconds[Math.floor(seconds.length / 2)], seconds.at(-1)]
      return `| ${client} | ${part} | ${found.length} | ${failedOf(found).length} | ${median?.toFixed(1)} | ${longest?.toFixed(1)} |`
    }),
  )
  return [
    '',
    '| client | killed | pulls | failed | median s | longest s |',
    '|---|---|--:|--:|--:|--:|',
    ...rows,
    ...failedOf(pulls).map(({ failure }) => failure),
  ].join('\n')
}
