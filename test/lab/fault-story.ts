import { readFileSync } from 'node:fs'
import { expect } from 'vitest'
import type { BlobProgress } from '../../client/index.ts'
import type { Lab } from '../../lab/lab.ts'
import { type LabProcess, waitFor } from '../../lab/machine/processes.ts'
import type { ImageReference } from '../../lab/pullers/puller.ts'

/**
 * What the fault stories have in common: links so slow that a pull of BLOB_BYTES takes seconds, an image of its own for
 * every story, and pulls that something happens to half-way.
 */

const MIB = 1024 * 1024
export const BLOB_BYTES = 16 * MIB
/** A blob leaves the registry in 3 s and comes to a node in as many, so that half-way through it leases are running. */
export const LINKS = { nodeBitsPerSecond: 48e6, registryBitsPerSecond: 48e6 }
/** Nobody pulls the image that every lab starts with. */
export const TINY_IMAGE = [1024]
const MIDWAY_PATIENCE_MS = 30_000
/** Shares of the blob between which a pull is half-way. */
const MIDWAY = { from: 0.2, to: 0.8 }

export interface Story {
  readonly image: ImageReference
  /** How each of these nodes' clients ended. */
  ended(...names: string[]): Promise<('pulled' | 'failed')[]>
  /** Resolves when each of these nodes has a part of the layer, and not nearly all. Fails when one got past that. */
  midway(...names: string[]): Promise<void>
  progress(name: string): Promise<BlobProgress | undefined>
  /** How much of the layer has come to the node since its Shoal was started, from 0 to 1. */
  share(name: string): Promise<number>
  /** What left the registry, in layers. */
  copies(): number
  /** The same by the counter of the registry's link, for answers that are broken off: the log has more than was sent. */
  linkCopies(): Promise<number>
}

let stories = 0

/** A new image, and the clients of these nodes that begin to pull it at once. */
export async function pullTogether(lab: Lab, names: string[], bytes = BLOB_BYTES): Promise<Story> {
  stories += 1
  const image = await lab.publish(`story${process.pid}-${stories}`, [bytes])
  return tell(lab, image, names)
}

/** The same for an image that is there already. */
export function tell(lab: Lab, image: ImageReference, names: string[]): Story {
  const { digest, bytes } = image.layers[0]!
  const sentBytes = async () => (await lab.run.network.traffic(lab.registryHost)).sentBytes
  const sentBefore = sentBytes()
  const pulls = new Map(names.map((name) => [name, endOf(lab.node(name).puller.pull(image))]))
  const progress = async (name: string) =>
    (await lab.node(name).shoal!.progress()).find((blob) => blob.digest === digest)
  const share = async (name: string) => {
    const { bytesFromPeers = 0, bytesFromRegistry = 0 } = (await progress(name)) ?? {}
    return (bytesFromPeers + bytesFromRegistry) / bytes
  }
  return {
    image,
    ...{ progress, share },
    ended: (...wanted) => Promise.all(wanted.map((name) => pulls.get(name)!)),
    async midway(...wanted) {
      const shares = await waitFor('the middle of the blob', MIDWAY_PATIENCE_MS, async () => {
        const now = await Promise.all(wanted.map(share))
        return now.every((one) => one > MIDWAY.from) ? now : undefined
      })
      expect(Math.max(...shares)).toBeLessThan(MIDWAY.to)
    },
    copies: () => (lab.registry.egress().get(digest)?.bytes ?? 0) / bytes,
    linkCopies: async () => ((await sentBytes()) - (await sentBefore)) / bytes,
  }
}

async function endOf(pull: Promise<void>): Promise<'pulled' | 'failed'> {
  try {
    await pull
    return 'pulled'
  } catch {
    return 'failed'
  }
}

export async function expectWhole(lab: Lab, image: ImageReference, names: string[]): Promise<void> {
  for (const name of names) expect([name, await lab.node(name).puller.verify(image)]).toEqual([name, true])
}

/** A tracker that was started again is asked every two seconds. */
const HEARD_PATIENCE_MS = 15_000

/** After a story that may have failed half-way: whatever of Shoal does not run is started again. */
export async function reviveAll(lab: Lab): Promise<void> {
  for (const { name, process } of [lab.tracker!, ...lab.nodes.map(({ shoal }) => shoal!)]) {
    if (!process.isRunning()) await lab.revive(name)
  }
  await lab.registry.start()
  await waitFor('nodes that hear the tracker', HEARD_PATIENCE_MS, async () => {
    const codes = await Promise.all(lab.nodes.map(({ shoal }) => shoal!.conditions()))
    return !codes.flat().includes('TRACKER_SILENT') || undefined
  })
}

/** Lines of the log of one of Shoal's programs, all that it ever wrote. */
export function logLines({ errorLogFile }: LabProcess): Record<string, unknown>[] {
  const lines = readFileSync(errorLogFile, 'utf8').split('\n')
  return lines.filter((line) => line.startsWith('{')).map((line) => JSON.parse(line))
}

/** Codes and messages in a part's log. */
export function logged(part: LabProcess): string[] {
  return logLines(part).flatMap(({ code, msg }) => [code, msg].filter((one) => typeof one === 'string'))
}

/** How long the nodes of a story may take for another share of the blob. */
const ON_PATIENCE_MS = 10_000

/** Waits until every one of these nodes has so much more of the blob than now. */
export async function moreOf(story: Story, names: string[], share: number): Promise<void> {
  const before = await Promise.all(names.map(story.share))
  await waitFor('more of the blob', ON_PATIENCE_MS, async () => {
    const now = await Promise.all(names.map(story.share))
    return now.every((one, index) => one > before[index]! + share) || undefined
  })
}
