import type { z } from 'zod'
import type { SwarmId } from '../../core/metainfo.ts'
import type { heartbeatRequest, heartbeatResponse, instructionSchema } from '../../core/tracker-api.ts'
import { WIRE_VERSION_KNOWN } from '../../core/wire-version.ts'
import { checkedP256Spki } from '../authority/leaf-certificate.ts'
import { issueLinkCertificate } from '../authority/link-certificate.ts'
import type { NodeCaller } from '../authority/node-caller.ts'
import { RefusedError } from '../errors.ts'
import { type TrackerParts, trustOf } from '../parts.ts'
import { PULL_SECONDS_MAX } from '../pull/pull-certificate.ts'
import { endLeasesOf } from '../swarm/gone-holders.ts'
import { judgeNews } from '../swarm/holder-news.ts'
import type { NodeContact, PeerTable } from '../swarm/peer-table.ts'
import { hasGrantOnRecord } from './granted.ts'

export type HeartbeatQuestion = z.output<typeof heartbeatRequest>
export type HeartbeatAnswer = z.output<typeof heartbeatResponse>
type Instruction = z.output<typeof instructionSchema>

/** After this many missed heartbeats a node is no longer handed out. */
export const HEARTBEATS_MISSED_MAX = 3
/**
 * A node that is cut off from the tracker hears of no revocation, but the certificates of its peers end within minutes
 * (pulls) or this hour (serving). A longer life would outlive a revocation. With a shorter one a cluster would stop
 * serving soon after its tracker went down. Nodes renew at two thirds.
 */
export const SERVE_CERTIFICATE_SECONDS = 3600
/** Heartbeats vary by up to this share of the interval either way, so that nodes do not fall into step. */
const SPREAD = 0.1
/** Until the next heartbeat of a node that is asked for its copies. */
const COPIES_IN_MS = 500

/**
 * The node reports what it serves and hears what is new. The tracker lists it as a holder without proof, because the
 * record of its pull may be gone by then. It hears of other peers only where a grant is on record.
 * @throws InvalidInputError for a bad key
 */
export async function heartbeat(
  parts: TrackerParts,
  caller: NodeCaller,
  question: HeartbeatQuestion,
): Promise<HeartbeatAnswer> {
  const nowMs = parts.nowMs()
  const { node, address, cluster } = caller
  const table = parts.peers.of(cluster.cluster)
  const serveCertificate =
    question.servePublicKey === null ? null : issueServe(caller, question.servePublicKey, nowMs)
  const contact = { node, address, port: question.listenPort, wire: question.wire }
  // Nobody asked for it: the node has started again, and fetches nothing of what it had leased before.
  if (question.isFullInventory && table.isHeardHere(node)) await endLeasesBefore(parts, table, caller)
  const { wantsFullInventory } = table.heartbeat({ ...contact, ...question.location }, question, nowMs)
  parts.portTrials.see(cluster.cluster, contact, nowMs)
  parts.sharedEndpoints.see(cluster.cluster, contact, nowMs)
  await noteBadPeers(parts, table, caller, question)
  const peers = await peersFor(parts, table, caller, question.wantsPeers)
  return {
    nextInMs: nextInMs(parts),
    wantsFullInventory,
    serveCertificate,
    trust: trustOf(parts, cluster),
    ...parts.revocations.newsSince(cluster.cluster, question.revocationsVersion, (it) =>
      parts.revocationCopies.of(cluster, it),
    ),
    ...carriedFor(parts, caller),
    peers,
    instructions: instructionsFor(parts, table, caller),
    ...(parts.pauses.isPaused(cluster.cluster, node) ? { isPaused: true } : {}),
    ...registriesFor(parts, question),
    wire: WIRE_VERSION_KNOWN,
    knowsLocations: true,
    linkCertificate: question.wantsLinkCertificate
      ? issueLinkCertificate(cluster, { node, spki: caller.spki, nowMs })
      : null,
    ...listingFor(table, contact),
    ...(await holdersFor(parts, table, caller)),
  }
}

/**
 * A heartbeat of a node while the tracker waits for the confirmation of its backup. What the node knows of revocations and
 * keys may be newer than the backup, so the answer changes neither. It asks for the copies that the node carries.
 */
export function heartbeatWhileRestored(
  parts: TrackerParts,
  caller: NodeCaller,
  { revocationsVersion }: HeartbeatQuestion,
): HeartbeatAnswer {
  const asked = carriedFor(parts, caller)
  return {
    nextInMs: asked.wantsCopiesFrom === undefined ? nextInMs(parts) : COPIES_IN_MS,
    wantsFullInventory: false,
    serveCertificate: null,
    trust: trustOf(parts, caller.cluster),
    revocationsVersion,
    revocations: [],
    isFullRevocations: false,
    ...asked,
    isRestored: true,
    peers: [],
    instructions: [],
    isPaused: true,
    wire: WIRE_VERSION_KNOWN,
    linkCertificate: null,
  }
}

function nextInMs({ times, random }: TrackerParts): number {
  return Math.round(times.heartbeatSeconds * 1000 * (1 - SPREAD + 2 * SPREAD * random()))
}

/** A copy for the node to carry, and which copies it is asked for. */
function carriedFor({ revocationCopies, restored }: TrackerParts, { cluster, node }: NodeCaller) {
  const keyChange = revocationCopies.ofKeyChange(cluster)
  const wantsCopiesFrom = restored.wantsFrom(cluster.cluster, node)
  return {
    ...(keyChange === undefined ? {} : { keyChange }),
    ...(wantsCopiesFrom === undefined ? {} : { wantsCopiesFrom }),
  }
}

/**
 * Counts holders only of blobs that the node was granted: it may say that it holds any. An older node passes over the
 * counts.
 */
async function holdersFor(parts: TrackerParts, table: PeerTable, caller: NodeCaller) {
  const news = table.takeHolders(caller.node, parts.nowMs())
  const judged = news.map(async (one) => {
    const isGranted = one.membership.isGranted ?? (await hasGrantOnRecord(parts, caller, one.swarm))
    return judgeNews(one, isGranted)
  })
  return news.length === 0 ? {} : { holders: await Promise.all(judged) }
}

/** The list of registries, for a node that knows another one. A node of version 0.2 names none, and gets none. */
function registriesFor({ kindsFound: { news } }: TrackerParts, { registriesVersion }: HeartbeatQuestion) {
  return registriesVersion === undefined || registriesVersion === news.version ? {} : { registries: news }
}

/** Absent before the first trial of the node's port. */
function listingFor(table: PeerTable, { node, address, port }: NodeContact) {
  const isReached = table.isReached(node)
  return isReached === undefined ? {} : { listing: { address, port, isReached } }
}

/** Leases that the node took a moment ago stay: it may have sent this heartbeat twice. */
async function endLeasesBefore(
  { swarms, nowMs }: TrackerParts,
  table: PeerTable,
  { cluster: { cluster }, node }: NodeCaller,
): Promise<void> {
  const ending = swarms.leasedTo(node, table.swarmsOf(node)).map((swarm) =>
    swarms
      .step(cluster, swarm, (state) => endLeasesOf(new Set([node]), state, nowMs()))
      .catch((error) => {
        // They expire soon.
        if (!(error instanceof RefusedError)) throw error
      }),
  )
  await Promise.all(ending)
}

/** Counts a report only for swarms that both nodes take part in, and by grant. */
async function noteBadPeers(
  parts: TrackerParts,
  table: PeerTable,
  caller: NodeCaller,
  { badPeers }: HeartbeatQuestion,
): Promise<void> {
  const { node: reporter, cluster } = caller
  for (const { swarm, node } of badPeers) {
    if (node === reporter || !table.holds(node, swarm)) continue
    if (!(await isDownloader(parts, table, caller, swarm))) continue
    if (!table.bad.report(reporter, { swarm, node }, parts.nowMs())) continue
    parts.metrics.badPeers.inc()
    parts.log.warn(
      { cluster: cluster.cluster, swarm, peer: node, reporter },
      'a node reported a peer for corrupt pieces',
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

/** Names peers only of swarms that the node takes part in by grant. */
async function peersFor(
  parts: TrackerParts,
  table: PeerTable,
  caller: NodeCaller,
  wanted: readonly SwarmId[],
): Promise<HeartbeatAnswer['peers']> {
  const granted = new Set<SwarmId>()
  for (const swarm of wanted) if (await isDownloader(parts, table, caller, swarm)) granted.add(swarm)
  const asking = { asker: caller.node, random: parts.random, nowMs: parts.nowMs() }
  const chosen = table.chooseAll([...granted], asking)
  const peers = new Map([...granted].map((swarm, at) => [swarm, chosen[at]!]))
  return wanted.map((swarm) => ({ swarm, peers: peers.get(swarm) ?? [] }))
}

/** Whether the node is in the swarm, with a grant no older than that of a running download can be. */
async function isDownloader(
  parts: TrackerParts,
  table: PeerTable,
  { cluster: { cluster }, node }: NodeCaller,
  swarm: SwarmId,
): Promise<boolean> {
  if (!table.holds(node, swarm)) return false
  return parts.store.hasPullSince({ cluster, node, swarm }, parts.nowMs() - PULL_SECONDS_MAX * 1000)
}

/** Epochs that rose since the last message to the node, for swarms that it holds. */
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
