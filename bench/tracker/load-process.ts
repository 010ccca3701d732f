import { answerLines } from '../measure/answer-lines.ts'
import { BenchPeerError } from '../measure/errors.ts'
import { LoadNode } from './load-node.ts'
import { LoadRequests } from './load-requests.ts'
import { type OpenLoopResult, openLoop } from './open-loop.ts'
import { publishImage, swarmsOf } from './publish-image.ts'
import type { LiveAnswer, LiveQuestion, LoadSettings, MeasureQuestion, OfferQuestion } from './questions.ts'
import { percentileOf, type Sample } from './report.ts'

/** The load generator: nodes, each with its own certificate, address and connection. */

/** Nodes that join or connect at the same time: more would only wait for each other. */
const AT_ONCE_MAX = 64
/** Images that are published at the same time: the tracker asks the registry about each blob of each. */
const PUBLISHED_AT_ONCE_MAX = 4
/** A node that was idle this long sends a heartbeat: the tracker closes a connection that is idle for 75 s. */
const IDLE_MS_MAX = 30_000
const IDLE_LOOK_MS = 1_000

let settings: LoadSettings
let requests: LoadRequests
const nodes: LoadNode[] = []
let idleLook: NodeJS.Timeout | undefined
let beats = 0

/** As a node does, each sends its inventory at once: the tracker closes a connection that sends no request for 5 s. */
async function open(given: LoadSettings) {
  settings = given
  requests = new LoadRequests(given)
  idleLook = setInterval(beatForIdle, IDLE_LOOK_MS)
  const startedMs = performance.now()
  await inTurns(given.connections, async (index) => {
    const node = await LoadNode.join(given, index)
    await node.exchange(requests.inventory(index))
    nodes[index] = node
  })
  return { joinSeconds: (performance.now() - startedMs) / 1000 }
}

function beatForIdle(): void {
  // While nodes join, some places of the list are empty: forEach leaves them out.
  nodes.forEach((node) => {
    // A failure ends the connection, and so fails the node's next request.
    if (node.idleMs > IDLE_MS_MAX) node.exchange(requests.heartbeat()).catch(() => undefined)
  })
}

/** All connections anew, as after a restart of the tracker. */
async function reopen() {
  const startedMs = performance.now()
  const secondsSince = () => (performance.now() - startedMs) / 1000
  await nodes[0]!.reconnect()
  await nodes[0]!.exchange(requests.heartbeat())
  const firstHeartbeatSeconds = secondsSince()
  const answer = await nodes[0]!.exchange(requests.grant())
  const firstGrantSeconds = secondsSince()
  await inTurns(nodes.length - 1, async (index) => {
    const node = nodes[index + 1]!
    await node.reconnect()
    await node.exchange(requests.heartbeat())
  })
  return {
    firstHeartbeatSeconds,
    firstGrantSeconds,
    peersInFirstGrant: Math.min(...swarmsOf(answer).map(({ peers }) => peers.length)),
    allBackSeconds: secondsSince(),
  }
}

async function prepare({ tokens }: { tokens: string[] }) {
  return { prepared: requests.prepareGrants(tokens) }
}

/** Makes every blob known and matched: its hashes are published and two nodes have it. Takes one grant an image. */
async function publish() {
  const publishOne = async (image: number) => {
    const [publisher, other] = [nodes[(2 * image) % nodes.length]!, nodes[(2 * image + 1) % nodes.length]!]
    await publishImage(requests, image, [publisher, other])
  }
  await inTurns(settings.images.length, publishOne, PUBLISHED_AT_ONCE_MAX)
  return {}
}

/** Ends early when every prepared grant has been sent; the result has the time that this took. */
async function measure({ operation, seconds }: MeasureQuestion): Promise<Sample> {
  const startedMs = performance.now()
  const untilMs = startedMs + seconds * 1000
  const tookMs: number[] = []
  let bytes = 0
  const run = async (node: LoadNode) => {
    for (let sentMs = performance.now(); sentMs < untilMs; ) {
      const request = operation === 'grant' ? requests.nextGrant() : requests.heartbeat()
      if (request === undefined) return
      const answer = await node.exchange(request)
      bytes += answer.length
      const answeredMs = performance.now()
      tookMs.push(answeredMs - sentMs)
      sentMs = answeredMs
    }
  }
  await Promise.all(nodes.map(run))
  const tookSeconds = (performance.now() - startedMs) / 1000
  return { operation, answers: tookMs.length, seconds: tookSeconds, p99Ms: percentileOf(tookMs, 0.99), bytes }
}

/** Grants at a rate that does not depend on the answers, to the trackers in turn. */
async function offer({ perSecond, seconds }: OfferQuestion): Promise<OpenLoopResult> {
  let sent = 0
  // A node's next request waits for its last answer: the least busy of a tracker's nodes asks.
  const byTracker = settings.ports.map((_, tracker) =>
    nodes.filter((_, index) => index % settings.ports.length === tracker),
  )
  return await openLoop({
    perSecond,
    seconds,
    send: () => {
      const of = byTracker[sent++ % byTracker.length]!
      return leastBusy(of).exchange(requests.grant())
    },
  })
}

/** Every node's heartbeats in turn, and pulls by random nodes. From the first time on, no other heartbeats are sent. */
async function live({ pullsPerSecond, heartbeatSeconds, seconds }: LiveQuestion): Promise<LiveAnswer> {
  clearInterval(idleLook)
  const startedMs = performance.now()
  const completionsMs: number[] = []
  const finishing = new Set<Promise<void>>()
  const finish = async (node: LoadNode, answer: Buffer) => {
    for (const { swarm, epoch } of swarmsOf(answer)) {
      const sentMs = performance.now()
      await node.exchange(requests.completion(swarm, epoch))
      completionsMs.push(performance.now() - sentMs)
    }
  }
  const pull = async () => {
    const node = nodes[Math.floor(Math.random() * nodes.length)]!
    const finished = finish(node, await node.exchange(requests.grant()))
    finishing.add(finished)
    void finished.then(() => finishing.delete(finished)).catch(() => undefined)
  }
  const beat = () => nodes[beats++ % nodes.length]!.exchange(requests.heartbeat())
  const [grant, heartbeat] = await Promise.all([
    openLoop({ perSecond: pullsPerSecond, seconds, send: pull }),
    openLoop({ perSecond: nodes.length / heartbeatSeconds, seconds, send: beat }),
  ])
  await Promise.all(finishing)
  const completion = summaryOf(completionsMs, (performance.now() - startedMs) / 1000)
  return { grant, heartbeat, completion }
}

/** Of requests that follow another's answer. */
function summaryOf(tookMs: number[], seconds: number): OpenLoopResult {
  const answered = tookMs.length
  const [p50Ms, p99Ms] = [percentileOf(tookMs, 0.5), percentileOf(tookMs, 0.99)]
  return { sent: answered, answered, seconds, p50Ms, p99Ms, generatorLateMs: 0 }
}

function leastBusy(of: readonly LoadNode[]): LoadNode {
  let least = of[0]
  for (const node of of) {
    if (node.waiting === 0) return node
    if (node.waiting < least!.waiting) least = node
  }
  if (least === undefined) throw new BenchPeerError('a tracker has no node')
  return least
}

/** Runs `work` for 0 to `count` - 1, some at a time. */
async function inTurns(
  count: number,
  work: (index: number) => Promise<unknown>,
  atOnceMax = AT_ONCE_MAX,
): Promise<void> {
  let next = 0
  const runner = async () => {
    while (next < count) await work(next++)
  }
  await Promise.all(Array.from({ length: Math.min(atOnceMax, count) }, runner))
}

await answerLines({ open, reopen, prepare, publish, measure, offer, live }, async () => {
  for (const node of nodes) node.close()
})
