import type { NodeId, SwarmId } from '../../core/metainfo.ts'
import type { Peer } from '../../core/tracker-api.ts'
import { haveVersionInCommon, WIRE_VERSION_FIRST, WIRE_VERSION_LINKS } from '../../core/wire-version.ts'
import { nearAndFar } from '../handout/near-and-far.ts'
import { choosePeers, PEERS_HANDED_OUT_MAX, type PeerCandidate, shuffle } from '../handout/peers.ts'
import { choosePullPeers, PULL_NODES_MAX } from '../handout/pull-peers.ts'
import type { BadPeers } from './bad-peers.ts'
import type { StockPeers } from './stock-peers.ts'
import type { ZoneCounts } from './zone-counts.ts'

/** A node that the tracker lists. */
export interface Presence {
  readonly node: NodeId
  address: string
  port: number
  /** The newest wire version that it speaks. */
  wire: number
  /** '' if it has none. */
  zone: string
  /** Whether the tracker opened a connection to it there; undefined before it tried. */
  isReached: boolean | undefined
  expiresAtMs: number
  /** False until the node has reported all that it holds. */
  hasInventory: boolean
  /** The node knows of epoch changes up to this sequence number. */
  toldEpochs: number
  /** Since when the node is told of changes in the number of holders. */
  toldHoldersAtMs: number
  readonly memberships: Map<SwarmId, Membership>
}

/** A node in a swarm. */
export interface Membership extends PeerCandidate {
  readonly presence: Presence
  isSeed: boolean
  index: number
  /** How many other holders of the whole blob the node was told; undefined: not told, or too long ago. */
  toldOthers?: number
  /** Whether the node was granted the blob; undefined: nobody looked lately. */
  isGranted?: boolean
}

export interface SwarmPeers {
  readonly seeds: Membership[]
  readonly leechers: Membership[]
}

export interface Asking {
  asker: NodeId
  random: () => number
  nowMs: number
}

/** Asks the policies of tracker/handout/ whom an asker hears of, and writes the answer. */
export class PeerChoice {
  /** The tracker's own connections to nodes of this cluster open at all. */
  hasReached = false
  readonly #swarms: ReadonlyMap<SwarmId, SwarmPeers>
  readonly #others: { readonly bad: BadPeers; readonly stock: StockPeers }
  /** An administrator took the node out of use: others are not sent to it. */
  readonly #isDrained: (node: NodeId) => boolean
  readonly #zones: ZoneCounts

  constructor(
    swarms: ReadonlyMap<SwarmId, SwarmPeers>,
    others: { readonly bad: BadPeers; readonly stock: StockPeers },
    isDrained: (node: NodeId) => boolean,
    zones: ZoneCounts,
  ) {
    this.#swarms = swarms
    this.#others = others
    this.#isDrained = isDrained
    this.#zones = zones
  }

  /** Peers for each of the swarms. @param of the asker */
  all(swarms: readonly SwarmId[], asking: Asking, { wire, zone }: { wire: number; zone: string }): Peer[][] {
    const nodes =
      wire < WIRE_VERSION_LINKS
        ? swarms.map((swarm) => this.#forOne(swarm, asking, wire))
        : this.#inZones(swarms, asking, { wire, zone })
    return swarms.map((swarm, at) => {
      const stock = this.#others.stock.choose(swarm, asking)
      // A pull may have listed a node that later announced as a stock client: it counts as one.
      const isStock = ({ node }: Peer) => stock.some((other) => other.node === node)
      return [...nodes[at]!.filter((peer) => !isStock(peer)), ...stock]
    })
  }

  /** For stock clients. */
  seeds(swarm: SwarmId, asking: Asking & { peersMax: number }): Peer[] {
    const seeds = this.#swarms.get(swarm)?.seeds
    if (seeds === undefined) return []
    const isEligible = this.#eligibility(swarm, asking)
    const question = { ...asking, seeds, leechers: [], isEligible, isLast: this.#isLast }
    return choosePeers(question).map(peerOf)
  }

  #forOne(swarm: SwarmId, asking: Asking, wire: number): Peer[] {
    const peers = this.#swarms.get(swarm)
    if (peers === undefined) return []
    const isEligible = this.#eligibility(swarm, asking, wire)
    const question = { ...asking, ...peers, peersMax: PEERS_HANDED_OUT_MAX, isEligible, isLast: this.#isLast }
    return choosePeers(question).map(peerOf)
  }

  /** Most near, a few far; where all nodes are of one zone, as if there were none. */
  #inZones(
    swarms: readonly SwarmId[],
    asking: Asking,
    { wire, zone }: { wire: number; zone: string },
  ): Peer[][] {
    if (!this.#zones.isOneOfSeveral(zone))
      return this.#together(swarms, { ...asking, wire, nodesMax: PULL_NODES_MAX })
    const lists = swarms.map((): Peer[] => [])
    const named = new Set<NodeId>()
    const choose = (nodesMax: number, isWanted: (presence: Presence) => boolean) => {
      const isNew = (presence: Presence) => !named.has(presence.node) && isWanted(presence)
      const chosen = this.#together(swarms, { ...asking, wire, nodesMax, isWanted: isNew })
      const nodes = new Set(chosen.flat().map(({ node }) => node))
      for (const node of nodes) named.add(node)
      for (const [at, list] of chosen.entries()) lists[at]!.push(...list)
      return [...nodes]
    }
    nearAndFar(PULL_NODES_MAX, (which, count) =>
      choose(count, (presence) => (presence.zone === zone) === (which === 'near')),
    )
    // A blob that none of these has may be held by few.
    const bare = swarms.flatMap((swarm, at) => (lists[at]!.length === 0 ? [{ swarm, at }] : []))
    if (bare.length > 0) {
      const rest = this.#together(
        bare.map(({ swarm }) => swarm),
        { ...asking, wire, nodesMax: PULL_NODES_MAX },
      )
      for (const [place, { at }] of bare.entries()) lists[at]!.push(...rest[place]!)
    }
    return lists.map((list) => shuffle(list, asking.random))
  }

  #together(
    swarms: readonly SwarmId[],
    asking: Asking & { wire: number; nodesMax: number; isWanted?: (presence: Presence) => boolean },
  ): Peer[][] {
    const { isWanted = () => true } = asking
    const eligible = swarms.map((swarm) => this.#eligibility(swarm, asking, asking.wire))
    const lists = choosePullPeers<Membership, Presence>({
      blobs: swarms.map((swarm) => this.#swarms.get(swarm) ?? { seeds: [], leechers: [] }),
      nodesMax: asking.nodesMax,
      nodeOf: ({ presence }) => presence,
      candidateOf: ({ memberships }, at) => memberships.get(swarms[at]!),
      isEligible: (candidate, at) => isWanted(candidate.presence) && eligible[at]!(candidate),
      isLast: this.#isLast,
      random: asking.random,
    })
    const marked = (chosen: Membership) => (this.#isLast(chosen) ? { dialsOnly: true } : {})
    return lists.map((list) => list.map((chosen) => ({ ...peerOf(chosen), ...marked(chosen) })))
  }

  /** @param wire absent: any version will do */
  #eligibility(swarm: SwarmId, { asker, nowMs }: Asking, wire?: number) {
    return ({ presence }: Membership) =>
      presence.node !== asker &&
      (wire === undefined || haveVersionInCommon(wire, presence.wire)) &&
      !this.#isDrained(presence.node) &&
      !this.#others.bad.isShunned(swarm, presence.node, nowMs)
  }

  /**
   * The tracker did not reach it, though it reached others. It is named where places are left: the tracker may be kept out
   * where peers are not.
   */
  readonly #isLast = ({ presence: { isReached } }: Membership) => this.hasReached && isReached === false
}

function peerOf({ presence: { node, address, port, wire }, isSeed }: Membership): Peer {
  return { node, address, port, isSeed, ...(wire > WIRE_VERSION_FIRST && { wire }) }
}
