import type { z } from 'zod'
import type { Digest } from '../../core/digest.ts'
import { swarmIdOf } from '../../core/metainfo.ts'
import type { grantedSwarm, Peer, pullRequest } from '../../core/tracker-api.ts'
import type { NodeCaller } from '../authority/node-caller.ts'
import { RefusedError } from '../errors.ts'
import type { TrackerParts } from '../parts.ts'
import type { SwarmIdentity } from '../store/store.ts'
import { ANSWER_PIECES_MAX, batchesFrom } from '../swarm/signed-batches.ts'
import type { SwarmState } from '../swarm/swarm-state.ts'
import { inTurns } from './in-turns.ts'
import { takeLease } from './take-lease.ts'

export type WantedBlob = z.output<typeof pullRequest>['blobs'][number]
type SwarmAnswer = z.output<typeof grantedSwarm>

/** Swarms that one grant joins at a time: half of the connections that a tracker has to its database. */
export const JOINED_AT_ONCE_MAX = 4

/** A granted pull, and where its node's peer listener is. */
export interface JoiningPull {
  pull: string
  registry: SwarmIdentity['registry']
  listenPort: number
  blobs: readonly WantedBlob[]
}

/**
 * Makes the node a peer of every blob's swarm and tells what is known of each. Hashes of wanted blobs come first: one
 * answer carries those of ANSWER_PIECES_MAX pieces, and the node asks for the rest afterwards.
 */
export async function joinSwarms(
  parts: TrackerParts,
  caller: NodeCaller,
  pull: JoiningPull,
): Promise<SwarmAnswer[]> {
  const peers = await meetPeers(parts, caller, pull)
  const swarms = pull.blobs.map((blob) => identityOf(parts, caller, pull, blob).swarm)
  await parts.swarms.lookAt(caller.cluster.cluster, swarms)
  const answers = new Map<Digest, SwarmAnswer>()
  const budget = new PiecesBudget()
  const join = async (blob: WantedBlob) => {
    answers.set(
      blob.digest,
      await joinSwarm(parts, caller, { pull, blob, budget, peers: peers.get(blob.digest)! }),
    )
  }
  // Wanted blobs first: the answer may have no room for the hashes of all.
  for (const now of [true, false]) {
    const blobs = pull.blobs.filter(({ isWanted }) => isWanted === now)
    await inTurns(blobs, JOINED_AT_ONCE_MAX, join)
  }
  return pull.blobs.map(({ digest }) => answers.get(digest)!)
}

/** Hashes that one answer carries. */
class PiecesBudget {
  readonly #spent = new Map<Digest, number>()

  /** A step may run again, and then gives back what it had before. @returns whether there is room for so many */
  spend(digest: Digest, pieces: number): boolean {
    this.#spent.delete(digest)
    const left = ANSWER_PIECES_MAX - this.#spent.values().reduce((sum, one) => sum + one, 0)
    if (pieces <= left) this.#spent.set(digest, pieces)
    return pieces <= left
  }
}

/** The caller left before it had its grant: its leases, and its places in swarms that it was not in, are free at once. */
export async function leaveSwarms(
  parts: TrackerParts,
  { cluster: { cluster }, node }: NodeCaller,
  swarms: readonly SwarmAnswer[],
  isNew: ReadonlySet<SwarmIdentity['swarm']>,
): Promise<void> {
  for (const { swarm, lease } of swarms) {
    if (isNew.has(swarm)) parts.peers.of(cluster).leave(node, swarm)
    if (lease !== null) await parts.swarms.step(cluster, swarm, (state) => state.release(lease.lease, node))
  }
}

async function joinSwarm(
  parts: TrackerParts,
  caller: NodeCaller,
  { pull, blob, budget, peers }: { pull: JoiningPull; blob: WantedBlob; budget: PiecesBudget; peers: Peer[] },
): Promise<SwarmAnswer> {
  const { digest, bytes, isWanted } = blob
  const identity = identityOf(parts, caller, pull, blob)
  const answerBy = (isLeasing: boolean) => (state: SwarmState, nowMs: number) => ({
    epoch: state.epoch,
    batches: budget.spend(digest, state.publishedCount)
      ? batchesFrom(state, caller.cluster.signingKey.batchKey, 0)
      : [],
    lease: isLeasing ? takeLease(parts, state, { caller, pull: pull.pull, position: 0, nowMs }) : null,
    status: state.status,
  })
  const open = (isLeasing: boolean) => parts.swarms.open(identity, answerBy(isLeasing), { mayBeOlder: true })
  // One busy swarm refuses no grant: without a lease the step changes nothing, and the node asks for one itself.
  const answer = await open(isWanted).catch((error: unknown) => {
    if (error instanceof RefusedError && error.code === 'SWARM_BUSY') return open(false)
    throw error
  })
  if (answer.lease !== null) parts.metrics.leases.inc()
  return { digest, bytes, swarm: identity.swarm, peers, ...answer }
}

/** Lists the node in all swarms of the pull, and chooses peers for all of them together. */
async function meetPeers(
  parts: TrackerParts,
  caller: NodeCaller,
  pull: JoiningPull,
): Promise<Map<Digest, Peer[]>> {
  const { cluster, node, address } = caller
  const nowMs = parts.nowMs()
  const table = parts.peers.of(cluster.cluster)
  const contact = { node, address, port: pull.listenPort }
  const swarms = pull.blobs.map((blob) => identityOf(parts, caller, pull, blob).swarm)
  for (const swarm of swarms) table.join(contact, swarm, nowMs)
  parts.portTrials.see(cluster.cluster, contact, nowMs)
  await parts.others.meetSoon()
  const peers = table.chooseAll(swarms, { asker: node, random: parts.random, nowMs })
  return new Map(pull.blobs.map(({ digest }, at) => [digest, peers[at]!]))
}

function identityOf(
  { registries }: TrackerParts,
  { cluster }: NodeCaller,
  { registry }: JoiningPull,
  { digest, bytes }: WantedBlob,
) {
  const key = { cluster: cluster.cluster, registry, digest, bytes }
  const apiPath = registries.get(registry)?.apiPath
  return { ...key, swarm: swarmIdOf({ ...key, apiPath }) }
}
