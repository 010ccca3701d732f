import type { z } from 'zod'
import type { SwarmId } from '../../core/metainfo.ts'
import type { heartbeatRequest, heartbeatResponse, instructionSchema } from '../../core/tracker-api.ts'
import { checkedP256Spki } from '../authority/leaf-certificate.ts'
import { PEERS_HANDED_OUT_MAX } from '../handout/peers.ts'
import { type NodeCaller, type TrackerParts, trustOf } from '../parts.ts'
import type { PeerTable } from './peer-table.ts'

export type HeartbeatQuestion = z.output<typeof heartbeatRequest>
export type HeartbeatAnswer = z.output<typeof heartbeatResponse>
type Instruction = z.output<typeof instructionSchema>

/** A node that is silent for this many heartbeats is not handed out any more. */
export const HEARTBEATS_MISSED_MAX = 3
/**
 * A node that is cut off from the tracker hears of no revocation, but the certificates that it meets end within
 * minutes (pulls) or this hour (serving). Longer would outlive a revocation; shorter would stop a cluster's serving
 * soon after its tracker. Nodes renew at two thirds.
 */
export const SERVE_CERTIFICATE_SECONDS = 3600
/** Heartbeats are spread by up to this share of the interval either way, so that nodes do not fall into step. */
const SPREAD = 0.1

/** One call in which a node says what it serves and hears what is new. @throws InvalidInputError for a bad key */
export function heartbeat(
  parts: TrackerParts,
  caller: NodeCaller,
  question: HeartbeatQuestion,
): HeartbeatAnswer {
  const nowMs = parts.nowMs()
  const { node, address, cluster } = caller
  const table = parts.peers.of(cluster.cluster)
  const serveCertificate =
    question.servePublicKey === null ? null : issueServe(caller, question.servePublicKey, nowMs)
  const contact = { node, address, port: question.listenPort }
  const { wantsFullInventory } = table.heartbeat(contact, question, nowMs)
  noteBadPeers(parts, table, caller, question)
  return {
    nextInMs: Math.round(parts.times.heartbeatSeconds * 1000 * (1 - SPREAD + 2 * SPREAD * parts.random())),
    wantsFullInventory,
    serveCertificate,
    trust: trustOf(parts, cluster),
    ...parts.revocations.newsSince(cluster.cluster, question.revocationsVersion),
    peers: question.wantsPeers.map((swarm) => ({
      swarm,
      peers: peersFor(parts, table, caller, swarm, nowMs),
    })),
    instructions: instructionsFor(parts, table, caller),
  }
}

/** Only of swarms that both take part in. */
function noteBadPeers(
  parts: TrackerParts,
  table: PeerTable,
  { node: reporter, cluster }: NodeCaller,
  { badPeers }: HeartbeatQuestion,
): void {
  for (const { swarm, node } of badPeers) {
    if (node === reporter || !table.holds(reporter, swarm) || !table.holds(node, swarm)) continue
    if (!table.bad.report(reporter, { swarm, node }, parts.nowMs())) continue
    parts.metrics.badPeers.inc()
    parts.log.warn(
      { cluster: cluster.cluster, swarm, peer: node, reporter },
      'a peer was reported for corrupt pieces',
    )
  }
}

function issueServe({ cluster, node }: NodeCaller, publicKey: string, nowMs: number) {
  return cluster.authorities[0]!.issue({
    claims: { kind: 'serve', cluster: cluster.cluster, node },
    spki: checkedP256Spki(Buffer.from(publicKey, 'base64url')),
    nowMs,
    validForSeconds: SERVE_CERTIFICATE_SECONDS,
  })
}

/** Only of swarms that the node takes part in. */
function peersFor(
  parts: TrackerParts,
  table: PeerTable,
  { node }: NodeCaller,
  swarm: SwarmId,
  nowMs: number,
) {
  if (!table.holds(node, swarm)) return []
  return table.choose(swarm, { asker: node, peersMax: PEERS_HANDED_OUT_MAX, random: parts.random, nowMs })
}

/** Epochs that rose since the node was last told, of swarms that it holds. */
function instructionsFor(
  parts: TrackerParts,
  table: PeerTable,
  { cluster, node }: NodeCaller,
): Instruction[] {
  const { newest } = parts.epochs
  const told = table.takeToldEpochs(node, newest)
  if (told === newest) return []
  const risen = parts.epochs.since(told, cluster.cluster, (swarm) => table.holds(node, swarm))
  return [...risen].map(([swarm, epoch]) => ({ kind: 'epoch', swarm, epoch }))
}
