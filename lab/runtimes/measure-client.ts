import type { Digest } from '../../core/digest.ts'
import { startLab } from '../cluster.ts'
import type { Lab } from '../lab.ts'
import type { LabRun } from '../machine/run.ts'
import type { Parts } from '../parts/parts.ts'
import type { ImageReference } from '../pullers/puller.ts'
import { MIRROR_LISTEN, type Runtime, type RuntimeClient, type TokenPlace } from './clients.ts'

/** One client pulls a fresh image on one node and then on the other. */

const FIRST = 'a'
const SECOND = 'b'
/** Two layers: one of several pieces, and one that ends within a piece. */
export const LAYER_BYTES = [20_000_000, 5_000_003]

export interface ClientRun {
  client: string
  version: string
  configuration: string
  /** Both pulls ended well, and the stores hold what was pushed. */
  ok: boolean
  /** Layers' bytes that left the registry for both nodes, in copies of the image. */
  registryCopies: number
  /** Of the second node's layers, from peers. */
  peerShare: number
  /** The client's last words; absent when all is well. */
  problem?: string
}

/** Two nodes with a registry that has its token server there. */
export function openRuntimesLab(tokens: TokenPlace, onRun?: (run: LabRun) => void): Promise<Lab> {
  return startLab({
    nodes: [FIRST, SECOND].map((name) => ({ name, puller: 'skopeo' })),
    layerDataBytes: [1_000],
    hasTokensAtRegistry: tokens === 'registry',
    nodeConfig: { mirrorListen: MIRROR_LISTEN },
    ...(onRun === undefined ? {} : { onRun }),
  })
}

/** @param index tells the client's images and folders from others' in this lab */
export async function measureClient(
  lab: Lab,
  parts: Parts,
  client: RuntimeClient,
  index: number,
): Promise<ClientRun> {
  const image = await lab.publish(`client-${index}`, LAYER_BYTES)
  const problem = await pullTwice(lab, parts, client, { image, folder: `client-${index}` })
  const { registryCopies, peerShare } = await sharingOf(lab, image)
  return {
    client: client.client,
    version: parts.versionOf(client.package) ?? '',
    configuration: `${client.configuration}${client.tokens === 'registry' ? ', tokens at the registry' : ''}`,
    ok: problem === undefined,
    ...{ registryCopies, peerShare },
    ...(problem === undefined ? {} : { problem }),
  }
}

/** @returns what went wrong */
async function pullTwice(
  lab: Lab,
  parts: Parts,
  client: RuntimeClient,
  { image, folder }: { image: ImageReference; folder: string },
): Promise<string | undefined> {
  const started: Runtime[] = []
  try {
    for (const name of [FIRST, SECOND]) {
      const runtime = await client.start({ lab, node: lab.node(name), parts }, folder)
      started.push(runtime)
      await runtime.pull(image)
      if (!(await runtime.verify(image))) return `${name} does not hold what was pushed`
    }
    return undefined
  } catch (error) {
    return (error as Error).message.trim().split('\n').at(-1)
  } finally {
    for (const runtime of started) await runtime.stop?.()
  }
}

export interface Sharing {
  registryCopies: number
  peerShare: number
}

/** How the layers of an image came to the two nodes, by the registry's own log and the second node's own account. */
export async function sharingOf(lab: Lab, { layers }: Pick<ImageReference, 'layers'>): Promise<Sharing> {
  const total = sum(layers.map(({ bytes }) => bytes))
  const egress = lab.registry.egress()
  const wanted = new Set<Digest>(layers.map(({ digest }) => digest))
  const blobs = (await lab.node(SECOND).shoal?.progress()) ?? []
  const fromPeers = blobs.filter(({ digest }) => wanted.has(digest)).map((blob) => blob.bytesFromPeers)
  return {
    registryCopies: round3(sum([...wanted].map((digest) => egress.get(digest)?.bytes ?? 0)) / total),
    peerShare: round3(sum(fromPeers) / total),
  }
}

const sum = (values: number[]) => values.reduce((total, value) => total + value, 0)
const round3 = (value: number) => Number(value.toFixed(3))
