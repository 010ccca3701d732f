import type { NodeId, SwarmId } from '../../core/metainfo.ts'
import type { Peer } from '../../core/tracker-api.ts'
import { haveVersionInCommon, WIRE_VERSION_FIRST, WIRE_VERSION_LINKS } from '../../core/wire-version.ts'
import { nearestFirst } from '../handout/near-and-far.ts'
import { choosePeers, PEERS_HANDED_OUT_MAX, type PeerCandidate, shuffle } from '../handout/peers.ts'
import { choosePullPeers, PULL_NODES_MAX } from '../handout/pull-peers.ts'
import type { BadPeers } from './bad-peers.ts'
import type { Circle, Circles } from './circles.ts'
import type { StockPeers } from './stock-peers.ts'

/** A node that the tracker lists. */
export interface Presence {
  readonly node: NodeId
  address: string
  port: number
  /** The newest wire version that it speaks. */
  wire: number
  /** This and the next: '' if it has none. */
  zone: string
  rack: string
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

/** Nodes of a rack or a zone that are looked at for a pull: bounds the cost of an answer, however large the zone is. */
export const CIRCLE_NODES_SEARCHED_MAX = 128

/** Who asks: the newest wire version that it speaks, and its listing if it has one. */
export interface Asker {
  wire: number
  presence: Presence | undefined
}

/** Asks the policies of tracker/handout/ whom an asker hears of, and writes the answer. */
export class PeerChoice {
  /** The tracker's own connections to nodes of this cluster open at all. */
  hasReached = false
  readonly #swarms: ReadonlyMap<SwarmId, SwarmPeers>
  readonly #others: { readonly bad: BadPeers; readonly stock: StockPeers }
  /** An administrator took the node out of use: others are not sent to it. */
  readonly #isDrained: (node: NodeId) => boolean
  readonly #circles: Circles<Presence>

  constructor(
    swarms: ReadonlyMap<SwarmId, SwarmPeers>,
    others: { readonly bad: BadPeers; readonly stock: StockPeers },
    isDrained: (node: NodeId) => boolean,
    circles: Circles<Presence>,
  ) {
    this.#swarms = swarms
    this.#others = others
    this.#isDrained = isDrained
    this.#circles = circles
  }

  /** Peers for each of the swarms. */
  all(swarms: readonly SwarmId[], asking: Asking, asker: Asker): Peer[][] {
    const { wire } = asker
    const nodes =
      wire < WIRE_VERSION_LINKS
        ? swarms.map((swarm) => this.#forOne(swarm, asking, wire))
        : this.#byNearness(swarms, asking, asker)
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

  /** Most near, a few far; where all nodes are in one place, as if there were none. */
  #byNearness(swarms: readonly SwarmId[], asking: Asking, { wire, presence }: Asker): Peer[][] {
    const circles = presence === undefined ? [] : this.#circles.around(presence)
    const zone = presence?.zone ?? ''
    const whole = { ...asking, wire, zone, nodesMax: PULL_NODES_MAX }
    if (circles.length <= 1) return this.#together(swarms, whole)
    const lists = swarms.map((): Peer[] => [])
    const named = new Set<NodeId>()
    nearestFirst(PULL_NODES_MAX, circles.length, (ring, nodesMax) => {
      const isWanted = (other: Presence) =>
        !named.has(other.node) && circles[ring]!.has(other) && !circles[ring - 1]?.has(other)
      const chosen = this.#together(swarms, { ...whole, nodesMax, isWanted, circle: circles[ring]! })
      const nodes = new Set(chosen.flat().map(({ node }) => node))
      for (const node of nodes) named.add(node)
      for (const [at, list] of chosen.entries()) lists[at]!.push(...list)
      return [...nodes]
    })
    // A blob that none of these has may be held by few.
    const bare = swarms.flatMap((swarm, at) => (lists[at]!.length === 0 ? [{ swarm, at }] : []))
    if (bare.length > 0) {
      const rest = this.#together(
        bare.map(({ swarm }) => swarm),
        whole,
      )
      for (const [place, { at }] of bare.entries()) lists[at]!.push(...rest[place]!)
    }
    return lists.map((list) => shuffle(list, asking.random))
  }

  #together(
    swarms: readonly SwarmId[],
    asking: Asking & {
      wire: number
      /** Of the asker. */
      zone: string
      nodesMax: number
      isWanted?: (presence: Presence) => boolean
      /** Those that are wanted are in it. */
      circle?: Circle<Presence>
    },
  ): Peer[][] {
    const { isWanted = () => true, zone } = asking
    const eligible = swarms.map((swarm) => this.#eligibility(swarm, asking, asking.wire))
    const lists = choosePullPeers<Membership, Presence>({
      blobs: this.#poolsOf(swarms, asking),
      nodesMax: asking.nodesMax,
      nodeOf: ({ presence }) => presence,
      candidateOf: ({ memberships }, at) => memberships.get(swarms[at]!),
      isEligible: (candidate, at) => isWanted(candidate.presence) && eligible[at]!(candidate),
      isLast: this.#isLast,
      random: asking.random,
    })
    return lists.map((list) =>
      list.map((chosen) => ({
        ...peerOf(chosen),
        ...(this.#isLast(chosen) && { dialsOnly: true }),
        ...(zone !== '' && { isFar: chosen.presence.zone !== zone }),
      })),
    )
  }

  /**
   * Holders of each blob to draw from. Of a small circle, its nodes: among all holders of a blob in a large cluster, random
   * draws would hardly find one of them.
   */
  #poolsOf(
    swarms: readonly SwarmId[],
    { circle, random }: { circle?: Circle<Presence>; random: () => number },
  ): SwarmPeers[] {
    const all = swarms.map((swarm) => this.#swarms.get(swarm) ?? { seeds: [], leechers: [] })
    const areFewer = ({ seeds, leechers }: SwarmPeers) =>
      circle === undefined || seeds.length + leechers.length <= circle.size
    if (circle === undefined || all.every(areFewer)) return all
    const nodes = circle.some(CIRCLE_NODES_SEARCHED_MAX, random)
    return all.map((pools, at) => {
      if (areFewer(pools)) return pools
      const members = nodes.flatMap(({ memberships }) => memberships.get(swarms[at]!) ?? [])
      return {
        seeds: members.filter(({ isSeed }) => isSeed),
        leechers: members.filter(({ isSeed }) => !isSeed),
      }
    })
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
